"""Entry point of ``python -m forehand_apps``, equal to ``forehand``."""

from forehand_apps.main import main

main()
