# Trainers, for CPUs or NVIDIA GPUs:
#   docker build -f deploy/docker/trainer.Dockerfile --target cpu -t REGISTRY/clozekit-cpu:0.1.0 .
#   docker build -f deploy/docker/trainer.Dockerfile --target gpu -t REGISTRY/clozekit-gpu:0.1.0 .
FROM python:3.11.7-slim-bookworm AS source
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/clozekit
ENV PATH=/opt/clozekit/bin:$PATH
WORKDIR /source
COPY constraints.txt pyproject.toml setup.py README.md ./
COPY deploy ./deploy
COPY model ./model
COPY pipelines ./pipelines
COPY tokenizers ./tokenizers

FROM source AS build-cpu
RUN pip install --constraint constraints.txt '.[training,gcs]' \
    && cp constraints.txt /opt/clozekit/constraints.txt

# The CUDA libraries come as wheels in the versions that TensorFlow asks for; the host brings the driver alone.
FROM source AS build-gpu
RUN pip install --constraint constraints.txt '.[training,gcs]' 'tensorflow[and-cuda]' \
    && cp constraints.txt /opt/clozekit/constraints.txt

# What runs: Python and the environment, without what built it.
FROM python:3.11.7-slim-bookworm AS runtime
ENV PATH=/opt/clozekit/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/home/clozekit/.cache/numba
RUN useradd --create-home --uid 65532 clozekit
WORKDIR /home/clozekit
# A signal reaches the command itself, which saves and ends.
STOPSIGNAL SIGTERM
ENTRYPOINT ["clozekit"]
CMD ["doctor", "--constraints", "/opt/clozekit/constraints.txt"]

FROM runtime AS gpu
COPY --from=build-gpu /opt/clozekit /opt/clozekit
USER 65532

FROM runtime AS cpu
COPY --from=build-cpu /opt/clozekit /opt/clozekit
USER 65532
