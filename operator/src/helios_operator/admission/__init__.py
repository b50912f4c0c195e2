"""Admission webhooks: what the API server asks before it stores a HeliosProxy or a pod. Started by `__main__`.

Every operator answers, the leader and those that stand by, so that nothing here knows the leader's view of the cluster:
what an answer needs is read from the API server when it is needed.
"""

from helios_operator.admission.service import Admission

__all__ = ["Admission"]
