from covary.config.generator import SHIPPED_PRIOR, Generator
from covary.config.images import Images
from covary.config.predictors import SHIPPED_READER, Predictor
from covary.config.vae import Vae
from covary.publication.origin import (
    personal_data_in_words,
    predictors_started_in_words,
    started_from_in_words,
)


def test_a_start_from_another_network_is_said():
    assert started_from_in_words(Generator()) == ""
    shipped = Generator(**SHIPPED_PRIOR)
    assert "started from the network workflow/pretrained/oct_64px.safetensors" in started_from_in_words(
        shipped
    )
    assert personal_data_in_words(Images(), shipped, Vae()) == personal_data_in_words(
        Images(), Generator(), Vae()
    )
    assert "stable-diffusion" in started_from_in_words(Generator(pretrained="stable-diffusion"))


def test_nothing_is_claimed_of_what_a_users_own_network_learned_from():
    own = Generator(prior="mine.safetensors")
    assert "nor was any used" in personal_data_in_words(Images(), Generator(), Vae())
    photographs = Vae(perceptual="torchvision")
    for generator, vae in (
        (own, Vae()),
        (Generator(pretrained="stable-diffusion"), Vae()),
        (Generator(), photographs),
    ):
        said = personal_data_in_words(Images(), generator, vae)
        assert "not known here" in said and "nor was any used" not in said


def test_predictors_that_do_not_start_from_random_weights_are_named():
    started = [Predictor(name=name, **SHIPPED_READER) for name in ("one", "two")]
    said = predictors_started_in_words([*started, Predictor(name="three")])
    assert said.startswith("one and two did not start from random weights, but from the network workflow/")
    assert "three" not in said
    assert predictors_started_in_words([Predictor()]) == ""
