"""scikit-learn's models, converted by skl2onnx, agree with scikit-learn.

Source of the pipelines: those that skl2onnx's documentation converts. Run by
build/venv-sklearn/bin/python (scripts/setup_sklearn).
"""

import unittest

import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import make_classification, make_regression
from sklearn.ensemble import (GradientBoostingClassifier, GradientBoostingRegressor,
                              RandomForestClassifier, RandomForestRegressor)
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier

import corf

CLASSIFIERS = {
    "random forest": RandomForestClassifier(n_estimators=20, random_state=0),
    "gradient boosting": GradientBoostingClassifier(n_estimators=20, random_state=0),
    "tree": DecisionTreeClassifier(random_state=0),
    "scaled logistic regression": make_pipeline(StandardScaler(), LogisticRegression()),
    "normalised logistic regression": make_pipeline(Normalizer(), LogisticRegression()),
    "support vectors": make_pipeline(StandardScaler(), SVC(random_state=0)),
    # Of polynomials float32 sums cancel: ONNX Runtime is 6e-3 off too.
    "linear support vectors": make_pipeline(MinMaxScaler(), SVC(kernel="linear")),
    "stochastic gradient descent": make_pipeline(StandardScaler(), SGDClassifier(random_state=0)),
    "naive Bayes": GaussianNB(),
    "neighbours": KNeighborsClassifier(3),
    "perceptron": make_pipeline(StandardScaler(),
                                MLPClassifier((16,), max_iter=300, random_state=0)),
}
REGRESSORS = {
    "random forest": RandomForestRegressor(n_estimators=20, random_state=0),
    "gradient boosting": GradientBoostingRegressor(n_estimators=20, random_state=0),
    "scaled ridge": make_pipeline(StandardScaler(), Ridge()),
    "support vectors": make_pipeline(StandardScaler(), SVR()),
}


def last_of(model):
    return model[-1] if isinstance(model, Pipeline) else model


def converted(model, x):
    """A session of the model, whose classes and scores are tensors."""
    options = {"zipmap": False} if hasattr(model, "classes_") else None
    return corf.InferenceSession(to_onnx(model, x[:1], options=options).SerializeToString())


class SklearnTest(unittest.TestCase):
    def check_classifier(self, model, num_classes):
        x, y = make_classification(400, 8, n_informative=5, n_classes=num_classes, random_state=1)
        x = x.astype(np.float32)
        model.fit(x[:300], y[:300])
        session = converted(model, x)
        for count in (100, 1, 7):
            labels, scores = session.run(None, {"X": x[300:300 + count]})[:2]
            np.testing.assert_array_equal(labels, model.predict(x[300:300 + count]))
            if hasattr(model, "predict_proba"):
                expected = model.predict_proba(x[300:300 + count])
            else:
                expected = model.decision_function(x[300:300 + count])
                if num_classes == 2 and scores.ndim == 2 and scores.shape[1] == 2:
                    # Of the second class, but SVMClassifier has them the other way round.
                    scores = scores[:, 0 if isinstance(last_of(model), SVC) else 1]
            np.testing.assert_allclose(scores.reshape(expected.shape), expected, rtol=1e-3,
                                       atol=1e-4)

    def test_classifiers(self):
        for name, model in CLASSIFIERS.items():
            for num_classes in (2, 3):
                with self.subTest(model=name, classes=num_classes):
                    self.check_classifier(model, num_classes)

    def test_regressors(self):
        x, y = make_regression(400, 8, n_informative=5, random_state=1)
        x = x.astype(np.float32)
        for name, model in REGRESSORS.items():
            with self.subTest(model=name):
                model.fit(x[:300], y[:300])
                session = converted(model, x)
                for count in (100, 1, 7):
                    found = session.run(None, {"X": x[300:300 + count]})[0]
                    expected = model.predict(x[300:300 + count])
                    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-3,
                                               atol=1e-3 * np.abs(expected).max())


if __name__ == "__main__":
    unittest.main()
