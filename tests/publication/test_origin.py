from covary.config.generator import SHIPPED_PRIOR, Generator
from covary.config.images import Images
from covary.publication.origin import personal_data_in_words, started_from_in_words


def test_a_start_from_another_network_is_said():
    assert started_from_in_words(Generator()) == ""
    shipped = Generator(**SHIPPED_PRIOR)
    assert "started from the network workflow/pretrained/oct_64px.safetensors" in started_from_in_words(
        shipped
    )
    assert personal_data_in_words(Images(), shipped) == personal_data_in_words(Images(), Generator())


def test_nothing_is_claimed_of_what_a_users_own_network_learned_from():
    own = Generator(prior="mine.safetensors")
    assert "nor was any used" in personal_data_in_words(Images(), Generator())
    assert "not known here" in personal_data_in_words(Images(), own)
