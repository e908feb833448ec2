"""Flink's REST interface: one call, and its failures as errors of `submit`."""

import json
import urllib.error
import urllib.request
from typing import Any

from clozekit.deploy.submit.submit_errors import PlaceError, RefusedError, UnavailableError, one_line

_ANSWER_SECONDS = 30


def ask_flink(address: str, path: str, method: str = "GET") -> Any:
    """What Flink at host:port answers to `path`, as JSON; None where it has none such. Raises a SubmitError otherwise."""
    request = urllib.request.Request(f"http://{address}/{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:
            return json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        kind = UnavailableError if error.code >= 500 else RefusedError
        raise kind(
            f"Flink at {address} must answer, it said {one_line(error.read().decode(errors='replace'))}; look at its log"
        ) from error
    except (OSError, TimeoutError) as error:
        reason = getattr(error, "reason", None) or error
        raise UnavailableError(
            f"Flink must answer at flink.rest_address, {address} does not ({one_line(reason)}); check the address and that the"
            " cluster runs"
        ) from error
    except ValueError as error:
        raise not_flink(address) from error


def not_flink(address: str) -> PlaceError:
    return PlaceError(
        f"flink.rest_address must be Flink's REST address, what answers at {address} is something else; it is the port of"
        " Flink's own page, 8081 by default"
    )
