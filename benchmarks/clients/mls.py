# mypy: ignore-errors
"""MLServer with a runtime of its own: `mlserver start FOLDER`, its settings name this class and the file."""

import sys
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse

sys.path.insert(0, str(Path(__file__).parent))
from peers import session


class Onnx(MLModel):
    """The model behind the Open Inference Protocol."""

    async def load(self) -> bool:
        """Open the file."""
        self.session = session(self.settings.parameters.uri)
        return True

    async def predict(self, payload):
        """Scores."""
        rows = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32)
        found = self.session.run(["score"], {"x": rows})[0]
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("score", found)])
