"""What a fitted object tells of itself."""

from __future__ import annotations

import json

import numpy as np
from sklearn.preprocessing import OrdinalEncoder

from perene.pipelines.flavours import parameters_of


def test_a_parameter_that_is_no_number_is_told_as_text():
    """NaN and infinities among the parameters are texts, so that every parameter is JSON."""
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)

    told = parameters_of(codes)

    assert told["unknown_value"] == "nan"
    assert json.loads(json.dumps(told, allow_nan=False)) == told
