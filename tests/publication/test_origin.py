from covary.config.generator import SHIPPED_START, Generator
from covary.config.images import Images
from covary.config.predictors import SHIPPED_READER, Predictor
from covary.config.vae import SHIPPED_VAE, Vae
from covary.publication.origin import (
    personal_data_in_words,
    predictors_started_in_words,
    started_from_in_words,
)


def test_a_start_from_another_network_is_said():
    assert started_from_in_words(Generator(), Vae()) == ""
    shipped = Generator(**SHIPPED_START), Vae(**SHIPPED_VAE)
    said = started_from_in_words(*shipped)
    assert "The image VAE started from the network workflow/pretrained/oct_64px_vae.safetensors" in said
    assert "The generator started from the network workflow/pretrained/oct_64px.safetensors" in said
    assert personal_data_in_words(Images(), *shipped) == personal_data_in_words(Images(), Generator(), Vae())
    assert "stable-diffusion" in started_from_in_words(Generator(pretrained="stable-diffusion"), Vae())


def test_nothing_is_claimed_of_what_a_users_own_network_learned_from():
    own = Generator(start="mine.safetensors")
    assert "nor was any used" in personal_data_in_words(Images(), Generator(), Vae())
    started = Vae(start="mine.safetensors")
    photographs = Vae(perceptual="torchvision")
    for generator, vae in (
        (own, Vae()),
        (Generator(pretrained="stable-diffusion"), Vae()),
        (Generator(), photographs),
        (Generator(), started),
    ):
        said = personal_data_in_words(Images(), generator, vae)
        assert "not known here" in said and "nor was any used" not in said


def test_predictors_that_do_not_start_from_random_weights_are_named():
    started = [Predictor(name=name, **SHIPPED_READER) for name in ("one", "two")]
    said = predictors_started_in_words([*started, Predictor(name="three")])
    assert said.startswith("one and two did not start from random weights, but from the network workflow/")
    assert "three" not in said
    assert predictors_started_in_words([Predictor()]) == ""
