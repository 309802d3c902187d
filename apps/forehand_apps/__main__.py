"""Entry point of ``python -m forehand_apps``, equal to ``forehand``; launchers of several processes start this."""

import os

from forehand_apps.main import main

if int(os.environ.get("WORLD_SIZE", 1)) > 1:  # before torch is loaded
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # DDP's advice about parameters that are always used
main()
