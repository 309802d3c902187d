"""The log, for machines."""

import json
import logging
import sys

from forehand_apps.cli.json_lines import JsonLines


def test_every_record_is_one_object_on_one_line():
    try:
        raise OSError("cable")
    except OSError:
        cause = sys.exc_info()
    line = JsonLines().format(logging.LogRecord("forehand.wire", logging.ERROR, "", 0, "session %s", ("ab",), cause))
    assert "\n" not in line
    fields = json.loads(line)
    assert (fields["level"], fields["logger"], fields["message"]) == ("ERROR", "forehand.wire", "session ab")
    assert "OSError: cable" in fields["exception"]
