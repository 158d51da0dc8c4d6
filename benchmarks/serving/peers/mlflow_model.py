"""Keep a model as MLflow does. The default format (skops) refuses LightGBM, so it is a cloudpickle.

python mlflow_model.py MODEL.joblib FOLDER
"""

import sys

import joblib
import mlflow.sklearn

mlflow.sklearn.save_model(joblib.load(sys.argv[1]), sys.argv[2], serialization_format="cloudpickle")
