"""A metric that arms a crash window in each process that measures a trial, and so in no process before its first."""

import os

from sklearn.metrics import roc_auc_score

#: A worker is killed at its fourth trial.
WINDOW = "training.trial.before_keep=kill@4"


def auc(y, scores):
    os.environ["RAYPIPE_FAILPOINT"] = WINDOW
    return float(roc_auc_score(y, scores))
