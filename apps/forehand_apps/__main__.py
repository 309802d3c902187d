"""``python -m forehand_apps`` is ``forehand``."""

from forehand_apps.main import main

main()
