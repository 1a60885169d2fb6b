"""What the server of `tests.forked` imports and looks up once, so that none of its processes has to."""

from contextlib import suppress

import clip_italian.cli
import clip_italian.demo.run
import clip_italian.train.run

with suppress(ImportError):  # extra `train`
    import matplotlib.figure  # noqa: F401
with suppress(ImportError):  # extra `serve`
    import clip_italian.serve.app
    import clip_italian.serve.run  # noqa: F401
with suppress(ImportError):  # extra `cost`
    import codecarbon.emissions_tracker
    import codecarbon.external.geography  # noqa: F401
    import pandas  # noqa: F401
    from codecarbon.core.util import detect_cpu_model

    # The name of the processor is found by another interpreter, which takes a second of each training run, and kept.
    detect_cpu_model()
