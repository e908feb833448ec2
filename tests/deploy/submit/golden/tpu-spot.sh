#!/bin/bash
set -euo pipefail
script=$(mktemp)
cat > "$script" <<'STARTUP_SCRIPT_ENDS_HERE'
#!/bin/bash
set -uo pipefail
# A slice of several hosts is driven from its first.
worker=$(curl -sf -H 'Metadata-Flavor: Google' \
  http://metadata.google.internal/computeMetadata/v1/instance/attributes/agent-worker-number || echo 0)
[ "$worker" = 0 ] || exit 0
gcloud storage rm gs://bucket/runs/bert-small/tpu-exit-status 2>/dev/null || true
cat > /tmp/clozekit-config.yaml <<'CLOZEKIT_CONFIG_ENDS_HERE'
# The run of the golden manifests.
dataset: gs://bucket/dataset
directory: run
train: {steps: 20000, global_batch_size: 256}
CLOZEKIT_CONFIG_ENDS_HERE
gcloud auth configure-docker europe-docker.pkg.dev --quiet
# Taken away, the VM gets SIGTERM: the trainer saves in the time that is left.
trap 'docker stop --time=25 clozekit' TERM
timeout --signal=TERM --kill-after=25 86400 docker run --rm --name=clozekit --privileged --net=host --log-driver=gcplogs --stop-timeout=25 \
  --volume=/tmp/clozekit-config.yaml:/tmp/clozekit-config.yaml:ro --env=NCCL_DEBUG=WARN --env='GREETING=it'"'"'s "quoted" $HOME' --env=TPU_NAME=local \
  --entrypoint=clozekit europe-docker.pkg.dev/my-project/clozekit/trainer:0.1.0 train /tmp/clozekit-config.yaml train.steps=5000 model.dropout=0.0 directory=gs://bucket/runs/bert-small &
child=$!
wait "$child"; status=$?
while kill -0 "$child" 2>/dev/null; do wait "$child"; status=$?; done
# 75: stopped and saved, because the TPU is taken away. The request stays and is filled anew by `submit --wait`.
[ "$status" -ne 75 ] || exit 0
echo "$status" | gcloud storage cp - gs://bucket/runs/bert-small/tpu-exit-status
# A TPU costs as much when it has nothing to do.
gcloud compute tpus queued-resources delete bert-small --project=my-project --zone=europe-west4-b --force --async --quiet
STARTUP_SCRIPT_ENDS_HERE
gcloud compute tpus queued-resources create bert-small --project=my-project --zone=europe-west4-b --node-id=bert-small --accelerator-type=v5litepod-8 --runtime-version=v2-alpha-tpuv5-lite --labels=team=lm,clozekit-fingerprint=c5f94642bfd0213f --service-account=trainer@my-project.iam.gserviceaccount.com --scopes=cloud-platform --metadata-from-file=startup-script="$script" --spot --async --quiet
