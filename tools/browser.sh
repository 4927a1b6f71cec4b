#!/bin/sh
# Makes sure that there is a Chromium for the browser tests and the PDF, where that can be had without asking.
# Without one those tests are skipped, with the reason, and everything else runs.
for name in chromium chromium-browser google-chrome; do
  command -v "$name" >/dev/null 2>&1 && exit 0
done
if [ -d "/Applications/Google Chrome.app" ]; then exit 0; fi

if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
  echo "Installing Chromium, for the browser tests and the PDF (apt-get, as root) …"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } >/dev/null 2>&1 \
    && exit 0
  echo "Chromium could not be installed: the browser tests will be skipped, and there is no PDF."
else
  echo "No Chromium: the browser tests are skipped, and there is no PDF. To have them: sudo apt-get install chromium,"
  echo "or install Google Chrome, and call make test again."
fi
exit 0
