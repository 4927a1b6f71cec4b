"""The tests: of the package, the chapters, the checks of exercises, and the pages."""

import sys

# jsonschema, which reads notebooks, would build a parser of international web addresses: four
# seconds in every process, as long as PyTorch takes, and no notebook has one.
sys.modules.setdefault("rfc3987_syntax", None)
