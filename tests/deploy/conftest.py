"""What the tests of deploying share: modules beside them, and Google's storage on loopback."""

from collections.abc import Iterator

import gcsfs
import pytest
from google_front import Storage, files, google_storage  # noqa: E402


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """A storage with the bucket `ours`, which this process and those it starts find as Google's."""
    with pytest.MonkeyPatch.context() as patch, google_storage(tmp_path_factory.mktemp("storage")) as started:
        for name, value in started.environment.items():
            patch.setenv(name, value)
        patch.setenv("CLOZEKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        gcsfs.GCSFileSystem.clear_instance_cache()
        files().mkdir("ours")
        yield started
        gcsfs.GCSFileSystem.clear_instance_cache()
        assert started.refused == [], "nothing but Google's storage may be asked for"
