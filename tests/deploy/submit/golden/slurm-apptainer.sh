#!/bin/bash
#SBATCH --job-name=bert-small
#SBATCH --comment=clozekit-fingerprint=f6f4d6b777fcc332
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=1
#SBATCH --signal=TERM@60
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=clozekit-jobs/bert-small/log-%j.txt
#SBATCH --dependency=singleton
#SBATCH --time=1200
#SBATCH --gpus-per-node=NVIDIA_TESLA_A100:2
#SBATCH --qos=preemptible

export NCCL_DEBUG=WARN
export GREETING='it'"'"'s "quoted" $HOME'

mkdir -p clozekit-jobs/bert-small
# The configuration as it was submitted, however its file changed while the job waited.
cat > clozekit-jobs/bert-small/config.yaml <<'CLOZEKIT_CONFIG_ENDS_HERE'
# The run of the golden manifests.
dataset: gs://bucket/dataset
directory: run
train: {steps: 20000, global_batch_size: 256}
CLOZEKIT_CONFIG_ENDS_HERE

srun --distribution=block --kill-on-bad-exit=0 --wait=120 apptainer exec --nv docker://europe-docker.pkg.dev/my-project/clozekit/trainer:0.1.0 clozekit train clozekit-jobs/bert-small/config.yaml train.steps=5000 model.dropout=0.0 directory=gs://bucket/runs/bert-small
status=$?
echo "clozekit ended with $status, start ${SLURM_RESTART_COUNT:-0} of job $SLURM_JOB_ID"

# 75: told to stop, and saved. 76: lost another worker. From 128: a signal ended a worker.
again=no
if [ "$status" -eq 75 ]; then again=yes; fi
if [ "$status" -gt 75 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 5 ]; then again=yes; fi
# A job that was cancelled is no longer RUNNING, and stays cancelled.
state=$(squeue --noheader --format=%T --jobs="$SLURM_JOB_ID")
if [ "$again" = yes ] && [ "$state" = RUNNING ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$status"
