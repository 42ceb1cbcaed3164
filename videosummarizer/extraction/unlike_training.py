"""Compare a match, while it is scored, with those that a checkpoint was trained with, and warn if it is unlike them."""

import logging
from pathlib import Path

from videosummarizer import media
from videosummarizer.dataset.match_statistics import StatisticsMeter
from videosummarizer.training.checkpoint import Checkpoint
from videosummarizer.training.training_statistics import describe_differences, find_differences

logger = logging.getLogger(__name__)


class TrainingComparison:
    """Measures a match while it is scored, if its checkpoint has statistics to compare it with."""

    def __init__(self, checkpoint: Checkpoint, info: media.VideoInfo, scored_sec: float):
        """Begin a match.

        Args:
            checkpoint: The checkpoint.
            info: The result of `media.probe`.
            scored_sec: Seconds of the part that is scored.
        """
        self.checkpoint, self.info, self.scored_sec = checkpoint, info, scored_sec
        self.meter = StatisticsMeter(checkpoint.config, checkpoint.config.num_segments(scored_sec))

    @property
    def measuring(self) -> dict:
        """Return the arguments of `scoring.score_outputs` that are needed to measure the match."""
        return {"on_arrays": self.meter.add} if self.checkpoint.training_statistics else {}

    def differences(self) -> tuple[str, ...]:
        """Return the differences from the matches of training, see `training_statistics.find_differences`."""
        if self.checkpoint.training_statistics is None or not self.meter.pictures:
            return ()
        found = self.meter.statistics(self.info.frame_rate_fps)
        given = (self.checkpoint.training_statistics, found, self.checkpoint.config, self.scored_sec)
        return tuple(find_differences(*given))


def warn_of_differences(video_path: Path, differences: tuple[str, ...], checkpoint: Checkpoint) -> None:
    """Warn of a match that is unlike those of training; without differences or statistics, of none."""
    if differences and checkpoint.training_statistics:
        logger.warning(describe_differences(video_path, differences, checkpoint.training_statistics.num_matches))
