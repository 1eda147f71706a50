"""``python -m rollbook.cli`` is ``rollbook``."""

import sys

from rollbook.cli.app import main

sys.exit(main())
