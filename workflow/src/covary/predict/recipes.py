"""Settings of trainings that are derived from other settings."""

import math

from covary.config.predictors import Predictor

# The oracle is a small network that sees the random effects themselves, so its settings do not depend on
# those of image networks. With more subjects than ORACLE_SUBJECTS its training has fewer epochs, hence no
# more steps.
ORACLE_SUBJECTS = 50_000
ORACLE = Predictor(
    network="oracle",
    epochs=15,
    passes=2,  # a validation costs more than a pass
    patience_epochs=2,
    batch_size=128,
    learning_rate=0.002,
    weight_decay=0.0,
    ema_decay=0.998,
)


def for_subjects(config: Predictor, n: int, of: int | None = None) -> Predictor:
    """The settings for a training on the first `n` of `of` training subjects (default: on all of them).

    Fewer subjects are repeated √(of/n) times as often, because fewer steps teach all that they can teach: in
    an epoch, or in more epochs if the network starts from trained layers. These learn so much in one pass
    that weak associations are overfitted in the next, so each is validated. A training on more than `of`
    subjects has fewer epochs, so that it takes no more steps. A batch has at most `n` subjects.
    """
    ratio = (of or n) / n
    fewer, repeats = min(1.0, ratio), math.sqrt(max(1.0, ratio))
    passes, epochs = (repeats, fewer) if config.start is None else (1.0, fewer * repeats)
    return config.model_copy(
        update={
            "epochs": max(1, round(config.epochs * epochs)),
            "passes": round(config.passes * passes),
            "patience_epochs": max(1, round(config.patience_epochs * fewer)),
            "batch_size": min(config.batch_size, n),
        }
    )
