"""Recording, finding and reading datasets.

Reading tables and videos needs ``forehand[learning]``; :mod:`forehand.utils.images`, :mod:`forehand.data.features` and
:mod:`forehand.data.lerobot.locate` need numpy alone.
"""
