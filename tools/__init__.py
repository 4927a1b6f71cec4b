"""What builds and checks the book; nothing here is needed to run a chapter."""
