import numpy as np
import pytest
import torch
from torchvision.models import resnet18

from covary.predict import PredictorNetwork, predict
from covary.training.device import place

SIZE_PX = 32


def make(network: str, inputs: int = SIZE_PX) -> PredictorNetwork:
    return PredictorNetwork(network, 3, inputs, 4)


def user_file(tmp_path, text: str) -> str:
    file = tmp_path / "my_model.py"
    file.write_text(f"import torch\n{text}")
    return str(file)


NET = """
class MyNet(torch.nn.Module):
    def __init__(self, random_effects):
        super().__init__()
        self.last = torch.nn.Linear(32, random_effects{extra})

    def forward(self, x):
        return self.last(x.mean(dim=(1, 2)))
"""


def test_at_width_64_it_is_torchvisions_resnet18():
    ours, theirs = PredictorNetwork("resnet18", 3, SIZE_PX, 64).network, resnet18(num_classes=3)
    theirs.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(2, 1, SIZE_PX, SIZE_PX)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize(
    ("network", "channels"),
    [
        ("resnet18", 1),
        ("resnet18", 5),
        ("shufflenet_v2_x0_5", 1),
        ("shufflenet_v2_x0_5", 3),
        ("linear_probe", 1),
        ("oracle", 1),
    ],
)
def test_every_kind_of_network_is_saved_and_predicts_the_same(network, channels, tmp_path):
    image = network not in ("linear_probe", "oracle")
    inputs = (np.arange(5 * channels * SIZE_PX**2) % 251).astype(np.uint8)
    inputs = inputs.reshape(5, channels, SIZE_PX, SIZE_PX)
    inputs = inputs if image else np.random.default_rng(0).normal(size=(5, 6))
    made = place(PredictorNetwork(network, 3, inputs.shape[-1], 4, channels))
    made.covariance.copy_(0.3 * torch.eye(3))
    made.save(tmp_path)
    loaded = PredictorNetwork.load(tmp_path)
    found = predict(made, inputs)
    assert found.shape == (5, 3) and found.dtype == np.float32
    np.testing.assert_array_equal(found, predict(loaded, inputs))
    torch.testing.assert_close(loaded.covariance, made.covariance)


def test_classifiers_of_photographs_see_one_or_three_channels():
    with pytest.raises(
        ValueError, match=r"^predictors\.network: shufflenet_v2_x0_5 sees .* these have 2; [^\n]*$"
    ):
        PredictorNetwork("shufflenet_v2_x0_5", 3, SIZE_PX, 4, channels=2)


@pytest.mark.parametrize("network", ["resnet18", "shufflenet_v2_x0_5", "linear_probe", "oracle"])
def test_the_first_prediction_is_the_bias(network):
    made = make(network).eval()
    bias = torch.tensor([0.5, -1.0, 2.0])
    made.start_at(bias)
    x = (
        torch.rand(2, SIZE_PX)
        if network in ("linear_probe", "oracle")
        else torch.rand(2, 1, SIZE_PX, SIZE_PX)
    )
    torch.testing.assert_close(made(x), bias.expand(2, 3))


def test_a_users_network(tmp_path):
    file = user_file(tmp_path, NET.format(extra=""))
    assert make(f"{file}:MyNet")(torch.rand(2, 1, SIZE_PX, SIZE_PX)).shape == (2, 3)


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "MyNet", "must define a class MyNet that derives from torch.nn.Module"),
        ("MyNet = 3", "MyNet", "must define a class MyNet that derives from torch.nn.Module"),
        ("1 / 0", "MyNet", "cannot be imported: ZeroDivisionError: division by zero"),
        ("class MyNet(torch.nn.Module): pass", "MyNet", "cannot be made: TypeError"),
        (NET.format(extra=" + 1"), "MyNet", r"must return 3 numbers for each of 2 inputs.* got \(2, 4\)"),
        (NET.format(extra="").replace("(1, 2)", "1"), "MyNet", r"got \(2, 32, 3\)"),
        (NET.format(extra="").replace("32", "31"), "MyNet", r"fails on inputs of shape \(2, 1, 32, 32\)"),
    ],
)
def test_a_faulty_network_of_a_user_is_one_line(text, name, message, tmp_path):
    with pytest.raises(ValueError, match=message) as raised:
        make(f"{user_file(tmp_path, text)}:{name}")
    assert str(raised.value).startswith("predictors.network: ") and "\n" not in str(raised.value)


def test_a_network_that_does_not_exist(tmp_path):
    with pytest.raises(ValueError, match=f"there is no file {tmp_path}/none.py"):
        make(f"{tmp_path}/none.py:MyNet")
    with pytest.raises(ValueError, match=r"must be resnet18, .* got 'resnet19'"):
        make("resnet19")
