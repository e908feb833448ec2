"""Parts of real engines for tests: pinned versions, fetched once by Maven, pip and Go into a cache, checked by sha256."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import apache_beam

_FETCH_SECONDS = 900
# No job server of Beam's newest versions is served everywhere; this is the newest whose parts all are. Flink's version is the
# one that it was built for, with its last fixes.
RUNNER_VERSION, FLINK_VERSION, KAFKA_VERSION = "2.62.0", "1.19.3", "4.1.0"
# Needs an older client of Kubernetes than the one that is pinned.
KFP_VERSION = "2.17.3"
# Of Spark 3 the last line; with the logging that it was built with, which Maven would let Beam's older one replace.
SPARK_VERSION, _SPARK_SLF4J = "3.5.5", "2.0.7"
_MAVEN_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies"
_PRISM_MODULE = "github.com/apache/beam/sdks/v2"
_PRISM_SUM = "h1:RsC61pHEvtySEHAURQyP/+CVOJm/hy5hewuG9JF0+Ow="
# Of a folder of jars: of its lines `sha256 name`, sorted by name.
_SHA256 = {
    "flink-runner": "576cdffed9828f5f11cf3d5161c2e86d858494b1edaf09b6a8495f516ed66004",
    "flink": "7975c68bd293bea4a1c625f0962838207e11e097f964e46806b17f438fd36a53",
    "spark": "a97e52b8040428df6477ce4fbb469a204034933c60e70b77fd5c52528caf9ab3",
    "kafka": "8d01c8f1dd714b2c84cbb0d09ccbd7f13a9569e599a5c983e0dec6bdd436960c",
}
_DRIVERS = {"flink": "org.apache.beam.runners.flink.FlinkJobServerDriver"}
# Signatures of jars that are no longer whole, and what only one jar may have.
_LEFT_OUT = re.compile(r"META-INF/(MANIFEST\.MF|[^/]*\.(SF|DSA|RSA))|(.*/)?module-info\.class")


class PartMissing(Exception):
    """A part can't be had on this machine; the message says in one line which and why."""


def cache_folder() -> Path:
    return Path(os.environ.get("CLOZEKIT_ENGINES_CACHE") or Path.home() / ".cache" / "clozekit-engines")


def prism() -> Path:
    """Beam's runner in Go, of the version of Beam that is installed: a program."""
    version = f"v{apache_beam.__version__}"

    def fetch(folder: Path) -> None:
        module = json.loads(_ran("Prism", "go", "mod", "download", "-json", f"{_PRISM_MODULE}@{version}"))
        _check("Prism", module["Sum"], _PRISM_SUM)
        package = f"{_PRISM_MODULE}/go/cmd/prism@{version}"
        _ran("Prism", "go", "install", "-buildvcs=false", package, GOBIN=str(folder), GOFLAGS="-mod=mod")

    return _cached(f"prism-{version}", fetch) / "prism"


def flink() -> Path:
    """The jars of Flink's distribution: a folder."""
    _java("Flink")

    def fetch(folder: Path) -> None:
        _pip("Flink", f"apache-flink-libraries=={FLINK_VERSION}", folder)
        (archive,) = folder.glob("*.tar.gz")
        wanted = ("flink-dist-", "log4j-")
        with tarfile.open(archive) as packed:
            for member in packed:
                name = Path(member.name).name
                if "/deps/lib/" in member.name and name.startswith(wanted):
                    stream = packed.extractfile(member)
                    assert stream is not None
                    with stream, (folder / name).open("wb") as out:
                        shutil.copyfileobj(stream, out)
        archive.unlink()
        _check("Flink", _folder_sha256(folder), _SHA256["flink"])

    return _cached(f"flink-{FLINK_VERSION}", fetch)


def flink_job_server() -> Path:
    """Beam's job server for Flink: one jar, as Beam's own releases have it."""
    return _job_server(
        "flink", f"org.apache.beam:beam-runners-flink-{FLINK_VERSION.rpartition('.')[0]}:{RUNNER_VERSION}"
    )


def kafka() -> Path:
    """The jars of Kafka: a folder."""
    return _jars("kafka", KAFKA_VERSION, f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}")


def spark() -> Path:
    """The jars of Spark and of Beam's runner for it: a folder."""
    return _jars(
        "spark",
        f"{SPARK_VERSION}-{RUNNER_VERSION}",
        f"org.slf4j:slf4j-api:{_SPARK_SLF4J}",
        f"org.apache.beam:beam-runners-spark-3:{RUNNER_VERSION}",
        f"org.apache.spark:spark-streaming_2.12:{SPARK_VERSION}",
    )


def kfp() -> Path:
    """Kubeflow's library, its part for Kubernetes and what they need, which do not install beside ours: a folder to import from."""

    def fetch(folder: Path) -> None:
        wanted = (f"kfp=={KFP_VERSION}", f"kfp-kubernetes=={KFP_VERSION}")
        _ran("kfp", sys.executable, "-m", "pip", "install", "-qq", "--target", str(folder), *wanted)

    return _cached(f"kfp-{KFP_VERSION}", fetch)


def _job_server(engine: str, artifact: str) -> Path:
    jars = _jars(f"{engine}-runner", RUNNER_VERSION, artifact)

    def join(folder: Path) -> None:
        _join_jars(sorted(jars.glob("*.jar")), folder / "server.jar", _DRIVERS[engine])

    return _cached(f"{engine}-job-server-{RUNNER_VERSION}", join) / "server.jar"


def _jars(name: str, version: str, *artifacts: str) -> Path:
    """A folder of artifacts and all that they need; of two versions the one that is named first, or nearer, counts."""
    _java(name)
    wanted = "".join(
        "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>".format(
            *artifact.split(":")
        )
        for artifact in artifacts
    )
    project = (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>clozekit</groupId><artifactId>engines</artifactId><version>1</version><packaging>pom</packaging>"
        f"<dependencies>{wanted}</dependencies></project>"
    )

    def fetch(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as place:
            pom = Path(place) / "pom.xml"
            pom.write_text(project, encoding="utf-8")
            arguments = [
                "-q",
                "-B",
                "-f",
                str(pom),
                _MAVEN_PLUGIN,
                f"-DoutputDirectory={folder}",
                "-DincludeScope=runtime",
            ]
            _ran(name, "mvn", *arguments)
        _check(name, _folder_sha256(folder), _SHA256[name])

    return _cached(f"{name}-{version}", fetch)


def _join_jars(jars: Iterable[Path], joined: Path, main_class: str) -> None:
    """One jar of several; of files that several have the first is taken, lists of services are put together."""
    services: dict[str, list[bytes]] = {}
    taken = set()
    with zipfile.ZipFile(joined, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out:
        out.writestr(
            "META-INF/MANIFEST.MF", f"Manifest-Version: 1.0\nMain-Class: {main_class}\nMulti-Release: true\n\n"
        )
        for path in jars:
            with zipfile.ZipFile(path) as jar:
                for entry in jar.infolist():
                    name = entry.filename
                    if name.startswith("META-INF/services/") and not entry.is_dir():
                        services.setdefault(name, []).append(jar.read(entry))
                    elif not entry.is_dir() and name not in taken and not _LEFT_OUT.fullmatch(name):
                        taken.add(name)
                        out.writestr(name, jar.read(entry))
        for name, parts in services.items():
            out.writestr(name, b"\n".join(parts) + b"\n")


def _cached(name: str, fetch: Callable[[Path], None]) -> Path:
    """The folder of that name in the cache, filled by `fetch` when it is not there; it appears whole or not at all."""
    place = cache_folder() / name
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{name}-") as folder:
            part = Path(folder) / "part"
            part.mkdir()
            fetch(part)
            # Another process may have been faster.
            if not place.is_dir():
                part.rename(place)
    return place


def _java(part: str) -> None:
    if shutil.which("java") is None:
        raise PartMissing(f"{part} runs on Java, and there is no java on this machine")


def _pip(part: str, requirement: str, folder: Path) -> None:
    _ran(part, sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--dest", str(folder), requirement)


def _ran(part: str, program: str, *arguments: str, **variables: str) -> str:
    """What the program printed."""
    found = shutil.which(program)
    if found is None:
        raise PartMissing(f"{part} is fetched by {program}, which is not on this machine")
    try:
        ran = subprocess.run(
            [found, *arguments],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=_FETCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PartMissing(f"{part} did not arrive within {_FETCH_SECONDS} s from {program}") from error
    if ran.returncode != 0:
        said = " ".join((ran.stderr or ran.stdout).split())[-300:]
        raise PartMissing(f"{part} could not be fetched by {Path(program).name}: {said}")
    return ran.stdout


def _folder_sha256(folder: Path) -> str:
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.name}\n" for path in sorted(folder.iterdir())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _check(part: str, got: str, pinned: str) -> None:
    """A part that is not the pinned one fails the tests: it is no reason to leave them out."""
    if got != pinned:
        raise ValueError(f"{part} must be the part that is pinned, {pinned}, got {got}")
