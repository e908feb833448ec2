# Beam's workers (Dataflow and other portable runners): Beam's own image with Clozekit and tokenizers in it.
#   docker build -f deploy/docker/beam_worker.Dockerfile -t REGISTRY/clozekit-beam:0.1.0 .
# Its entry point is Beam's /opt/apache/beam/boot, by which a runner starts a worker.
FROM apache/beam_python3.11_sdk:2.77.0

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    # Everything is in the image: the entry point need not make an environment of its own, which takes root.
    RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1 \
    NUMBA_CACHE_DIR=/home/clozekit/.cache/numba

WORKDIR /opt/clozekit/source
COPY constraints.txt pyproject.toml setup.py README.md ./
COPY deploy ./deploy
COPY model ./model
COPY pipelines ./pipelines
COPY tokenizers ./tokenizers
RUN pip install --constraint constraints.txt '.[pipelines,gcs,clean,warc]' \
    # Beam must stay the one of the image, and checksums in Python would take more time than all else.
    && python -c "import apache_beam, google_crc32c; assert apache_beam.__version__ == '2.77.0'; assert google_crc32c.implementation == 'c'" \
    && test -x /opt/apache/beam/boot \
    && useradd --create-home --uid 65532 clozekit

# Tokenizers that are put into deploy/docker/assets before the build: `prepare --tokenizer /opt/clozekit/assets/NAME`.
COPY deploy/docker/assets /opt/clozekit/assets

WORKDIR /home/clozekit
USER 65532
