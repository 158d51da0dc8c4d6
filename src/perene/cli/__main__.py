"""``python -m perene.cli``: the same as ``perene``."""

import sys

from perene.cli import main

sys.exit(main())
