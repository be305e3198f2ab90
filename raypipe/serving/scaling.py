"""How many replicas Serve is to run: so many that each has as many requests under way as it should."""

from math import ceil

from ray.serve.config import AutoscalingContext

#: What replicas tell Serve every few seconds, by name: requests under way that Serve itself does not see.
UNDER_WAY = "under_way"
#: A number that is wrong by less than this share is left: else it would swing.
TOLERANCE = 0.1


def wanted(context: AutoscalingContext) -> tuple[int, dict[str, object]]:
    """Called by Serve's controller with what replicas told; gives their number, within the bounds."""
    told = (context.aggregated_metrics or {}).get(UNDER_WAY, {})
    requests = sum(told.values()) + context.total_num_requests
    now = context.current_num_replicas
    config = context.config
    assert config is not None  # noqa: S101  # this function is named by one
    number = requests / config.get_target_ongoing_requests()
    found = now if now and abs(number / now - 1) <= TOLERANCE else ceil(number)
    least, most = context.capacity_adjusted_min_replicas, context.capacity_adjusted_max_replicas
    return max(least, min(found, most)), {}
