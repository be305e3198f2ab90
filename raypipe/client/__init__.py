"""The Python client: predictions, runs, models and status for code that is not a pipeline."""

from raypipe.client.client import Client
from raypipe.client.jobs import Job
from raypipe.client.records import Accepted, Field, Model, Prediction, Served, Service, Status

__all__ = ["Accepted", "Client", "Field", "Job", "Model", "Prediction", "Served", "Service", "Status"]
