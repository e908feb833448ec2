"""What can go wrong between a job and its platform: one line and an exit status each, after sysexits.h."""

import re
from collections.abc import Iterator
from contextlib import contextmanager


class SubmitError(RuntimeError):
    """The message is one line: what was wrong, what to do. Nothing was submitted unless it says so."""

    exit_status: int


class RefusedError(SubmitError):
    """The platform refused the request for a reason of its own (quota, a value). EX_DATAERR."""

    exit_status = 65


class BucketError(SubmitError):
    """A bucket is not there, or not where it should be. EX_NOINPUT."""

    exit_status = 66


class UnavailableError(SubmitError):
    """The platform can't be reached, or its tool is not installed. EX_UNAVAILABLE."""

    exit_status = 69


class NameTakenError(SubmitError):
    """Another job has the name. EX_CANTCREAT."""

    exit_status = 73


class CredentialsError(SubmitError):
    """Nobody is logged in, or who is may not do it. EX_NOPERM."""

    exit_status = 77


class PlaceError(SubmitError):
    """The project, region, zone, namespace or partition is not there. EX_CONFIG."""

    exit_status = 78


class JobFailedError(SubmitError):
    """The job that was followed did not succeed."""

    exit_status = 1


def one_line(error: object) -> str:
    """The message without the request that Google's REST clients put before it."""
    text = re.sub(r"\b(GET|POST|PUT|PATCH|DELETE) https?://\S+: ", "", str(error))
    return " ".join(text.split())[:300]


@contextmanager
def google_errors(job: str, place: str) -> Iterator[None]:
    """Turns what Google's client libraries raise into the errors above. place: where the job goes, for the messages."""
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError, TransportError

    try:
        yield
    except TransportError as error:
        raise UnavailableError(
            f"{place} must be reachable, it is not ({one_line(error)}); check the network"
        ) from error
    except GoogleAuthError as error:
        raise CredentialsError(
            f"submitting needs Google credentials, there are none that hold ({one_line(error)}); run `gcloud auth"
            " application-default login` or set GOOGLE_APPLICATION_CREDENTIALS"
        ) from error
    except (exceptions.Unauthorized, exceptions.Forbidden) as error:
        raise CredentialsError(
            f"{place} must allow it, it answered {one_line(error)}; log in as somebody who may, or ask for the role"
        ) from error
    except exceptions.NotFound as error:
        raise PlaceError(
            f"{place} must be there, it answered {one_line(error)}; check project, region and that the API is enabled"
        ) from error
    except exceptions.Conflict as error:
        raise NameTakenError(
            f"the name of a job must be free, {job} is not at {place} ({one_line(error)}); choose another name"
        ) from error
    except (exceptions.ServerError, exceptions.RetryError, ConnectionError) as error:
        raise UnavailableError(
            f"{place} must be reachable, it answered {one_line(error)}; check region and network, then run it again"
        ) from error
    except exceptions.GoogleAPICallError as error:
        wrong_place = any(word in one_line(error).lower() for word in ("location", "region", "zone"))
        kind = PlaceError if wrong_place else RefusedError
        raise kind(f"{place} refused {job}: {one_line(error)}; change the job and submit it again") from error
