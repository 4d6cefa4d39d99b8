"""corf.ray in Ray Serve and Ray Data, on loopback and on a cluster of two nodes in this machine."""

import io
import json
import time
import unittest
import urllib.error
import urllib.request

import numpy as np
import ray
from ray import serve
from ray.cluster_utils import Cluster

import corf.ray
from corf_command import CommandTest, linear_model

X = np.array([[1, 0, 2], [-1, -1, -1]], np.float32)
Y = np.array([[11.5, 0], [0, 0]], np.float32)
ADDRESS = "http://127.0.0.1:{}/"
NO_STATISTICS = {"include_dashboard": False}


@ray.remote(num_cpus=0)
class Meeting:
    """Counts who has come."""

    def __init__(self):
        self.count = 0

    def arrive(self):
        self.count += 1

    def size(self):
        return self.count


class Where(corf.ray.Predictor):
    """Tells which node has computed a row; none begins before there are two."""

    def __init__(self, model, meeting):
        super().__init__(model)
        ray.get(meeting.arrive.remote())
        while ray.get(meeting.size.remote()) < 2:
            time.sleep(0.1)

    def __call__(self, batch):
        node = ray.get_runtime_context().get_node_id()
        return {**super().__call__(batch), "node": np.array([node] * len(batch["id"]))}


def post(port, body, content_type):
    request = urllib.request.Request(ADDRESS.format(port), body, {"Content-Type": content_type})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


class RayTest(CommandTest):
    @classmethod
    def setUpClass(cls):
        # Two nodes of one CPU each: neither has room for two actors.
        cls.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **NO_STATISTICS})
        cls.cluster.add_node(num_cpus=1)
        ray.init(address=cls.cluster.address, log_to_driver=False)

    @classmethod
    def tearDownClass(cls):
        serve.shutdown()
        ray.shutdown()
        cls.cluster.shutdown()

    def setUp(self):
        super().setUp()
        self.model = self.write("linear.onnx", linear_model())

    def test_data_on_two_nodes(self):
        rows = 64
        x = np.tile(X, (rows // 2, 1))
        dataset = ray.data.from_items([{"id": i, "x": x[i]} for i in range(rows)],
                                      override_num_blocks=8)
        result = dataset.map_batches(Where, fn_constructor_args=(str(self.model), Meeting.remote()),
                                     batch_size=5, concurrency=2, num_cpus=1).take_all()
        self.assertEqual(len(result), rows)
        for row in result:
            np.testing.assert_array_equal(row["y"], Y[row["id"] % 2])
            self.assertNotIn("x", row)
        self.assertEqual(len({row["node"] for row in result}), 2)

    def test_serve(self):
        port = 18123
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        handle = serve.run(corf.ray.deployment(self.model.read_bytes(), num_replicas=1))

        archive = io.BytesIO()
        np.savez(archive, x=X)
        with np.load(io.BytesIO(post(port, archive.getvalue(), "application/octet-stream"))) as y:
            np.testing.assert_array_equal(y["y"], Y)

        answer = json.loads(post(port, json.dumps({"x": X.tolist()}).encode(), "application/json"))
        np.testing.assert_array_equal(answer["y"], Y)

        np.testing.assert_array_equal(handle.infer.remote({"x": X}).result()["y"], Y)

        for body, content_type in ((b"nonsense", "application/octet-stream"),
                                   (b'{"z": [1]}', "application/json")):
            with self.assertRaises(urllib.error.HTTPError) as caught:
                post(port, body, content_type)
            self.assertEqual(caught.exception.code, 400)
            caught.exception.close()


if __name__ == "__main__":
    unittest.main()
