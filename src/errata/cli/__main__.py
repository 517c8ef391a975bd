"""`python -m errata.cli`, the same as `errata`."""

import sys

from errata.cli import main

sys.exit(main())
