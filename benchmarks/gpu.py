"""What only a GPU can answer: do its results agree with the CPU's, and how fast is it?

    bash benchmarks/gpu.sh [--seconds 470] [--only PART …] [--smallest] [--output results/benchmarks/gpu.csv]

Each part runs in a process of its own, which is stopped when its time is over. A part writes each row as
soon as it is measured, so a run that is cut off keeps what it had. The table is printed last. `--smallest`
shrinks everything until it runs on a CPU; its numbers mean nothing. To add a part, write a function with the
decorator `part`; parts run in the order of this file.

Rates are those of the package's own training and sampling functions, batches and validations included, after
a warm-up. fp32 is PyTorch's default, where cuDNN computes convolutions in TF32.
"""

import argparse
import contextlib
import copy
import csv
import functools
import gc
import importlib
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np

SEED = 1
PAPER_IMAGES = 1_100_000
COLUMNS = "part", "task", "setting", "value", "unit"
CPU_ONLY = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}


@dataclass(frozen=True)
class Scale:
    """How large the measured work is."""

    seconds: float  # that each rate is measured for
    updates: int  # of a rate that are not counted: the first ones compile
    trained_images: int  # of the comparison with the CPU
    compared_subjects: int  # of the comparison with the CPU
    subjects: int  # of the engine's rates
    many_subjects: int
    small_px: int  # sides of the images of the two VAEs and predictors
    large_px: int
    width: int  # channels of the first convolution
    steps_per_epoch: int
    batch_size: int
    sampled_batch: int
    sampling_steps: int
    block_channels: list[int]
    unet_channels: tuple[int, ...]
    autoencoder_channels: tuple[int, ...]
    latent_px: int
    stable_diffusion_batches: tuple[int, ...]


FULL = Scale(
    seconds=3.0, updates=5, trained_images=512, compared_subjects=4096, subjects=65_536,
    many_subjects=262_144, small_px=128, large_px=224, width=64, steps_per_epoch=100, batch_size=64,
    sampled_batch=512, sampling_steps=20, block_channels=[64, 128, 256, 256], latent_px=64,
    unet_channels=(320, 640, 1280, 1280), autoencoder_channels=(128, 256, 512, 512),
    stable_diffusion_batches=(4, 16),
)  # fmt: skip
SMALLEST = Scale(
    seconds=0.0, updates=1, trained_images=64, compared_subjects=64, subjects=64, many_subjects=96,
    small_px=32, large_px=32, width=4, steps_per_epoch=2, batch_size=4, sampled_batch=2,
    sampling_steps=2, block_channels=[16], unet_channels=(32, 32, 32, 32),
    autoencoder_channels=(32, 32, 32, 32), latent_px=8, stable_diffusion_batches=(2,),
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A measurement with the seconds that it may take and the environment that it needs."""

    measure: Callable[["Table", Scale, Path], None]
    budget_s: float
    environment: dict[str, str]


PARTS: dict[str, Part] = {}


def part(budget_s: float, **environment: str):
    """Decorator: make a part of a function of the table, the scale and a folder that all parts share."""

    def register(function):
        PARTS[function.__name__] = Part(function, budget_s, environment)
        return function

    return register


class Table:
    """Rows in a CSV file, each written as soon as it is known."""

    def __init__(self, path: Path, part: str = ""):
        self.path, self.part = path, part

    def start(self) -> None:
        """Make an empty table in place of an older one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("w", newline="") as file:
            csv.writer(file).writerow(COLUMNS)

    def add(self, task: str, setting: str, value: float | str, unit: str = "") -> None:
        """Write one row."""
        shown = value if isinstance(value, str) else f"{value:.4g}"
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow([self.part, task, setting, shown, unit])

    def markdown(self) -> str:
        """The whole table."""
        with self.path.open(newline="") as file:
            head, *rows = csv.reader(file)
        return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def main() -> None:
    """Run the parts, each in a process, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=470, help="start and run no part after so long")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--smallest", action="store_true", help="small enough for a CPU")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/gpu.csv"))
    parser.add_argument("--part", choices=PARTS, help="run this part in this process")
    parser.add_argument("--work", type=Path, help="the folder that all parts share")
    arguments = parser.parse_args()
    if arguments.part:
        scale = SMALLEST if arguments.smallest else FULL
        PARTS[arguments.part].measure(Table(arguments.output, arguments.part), scale, arguments.work)
        return
    if not (arguments.smallest or _has_gpu()):
        print("no GPU: not measured (try --smallest)")
        return
    end = time.monotonic() + arguments.seconds
    Table(arguments.output).start()
    with tempfile.TemporaryDirectory() as work:
        for name in (name for name in PARTS if name in arguments.only):
            _run(name, end - time.monotonic(), arguments, work)
    print(Table(arguments.output).markdown())


def _run(name: str, seconds_left: float, arguments: argparse.Namespace, work: str) -> None:
    """Run one part in a process of its own; the table says so if it does not end well."""
    table, budget_s = Table(arguments.output, name), min(PARTS[name].budget_s, seconds_left)
    if budget_s <= 0:
        table.add("the whole part", "", "not started: no time left")
        return
    command = [sys.executable, __file__, "--part", name, "--output", str(arguments.output), "--work", work]
    command += ["--smallest"] * arguments.smallest
    environment = {
        **os.environ,
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # three quarters of the memory would be lost to PyTorch
        "JAX_COMPILATION_CACHE_DIR": f"{work}/compiled",
        **PARTS[name].environment,
    }
    print(f"{name} (at most {budget_s:.0f} s)", file=sys.stderr, flush=True)
    start = time.monotonic()
    try:
        subprocess.run(command, check=True, timeout=budget_s, env=environment)
    except subprocess.TimeoutExpired:
        table.add("the whole part", "", f"stopped after {budget_s:.0f} s")
    except subprocess.CalledProcessError as error:
        table.add("the whole part", "", f"failed with exit code {error.returncode}")
    else:
        table.add("the whole part", "", time.monotonic() - start, "s")


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


# What several parts need.


def draw_z(n: int, latent_dim: int) -> np.ndarray:
    """Random effects of n subjects."""
    from covary import rng

    return rng.normal(SEED, "z", 0, n, (latent_dim,))


def synthetic_images(n: int, size_px: int) -> np.ndarray:
    """Images in the form in which all functions of the package take them."""
    from covary.diffusion.mock import mock_images

    return mock_images(draw_z(n, 16), size_px)


def posterior(n: int, latent_dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and log variance of q(z|x) of n images, as an encoder could have found them."""
    mean = draw_z(n, latent_dim).astype(np.float32)
    return mean, np.full_like(mean, -3.0)


class _Enough(Exception):
    """Ends a training once its rate is known."""


class Stopwatch:
    """Takes the place of a progress bar, times what comes after the first updates, and ends the work."""

    def __init__(self, scale: Scale, warm_up: int):
        self.warm_up, self.least_s = warm_up, scale.seconds
        self.updates = self.counted = 0
        self.start_s = self.elapsed_s = 0.0

    def __call__(self, *arguments, **options) -> "Stopwatch":
        return self

    def __enter__(self) -> "Stopwatch":
        return self

    def __exit__(self, *error) -> None: ...

    def set_postfix(self, *arguments, **options) -> None: ...

    def update(self, n: int = 1) -> None:
        self.updates += 1
        if self.updates <= self.warm_up:
            if self.updates == self.warm_up:
                self.start_s = _synchronised_s()
            return
        self.counted += n
        if time.perf_counter() - self.start_s >= self.least_s:
            self.elapsed_s = _synchronised_s() - self.start_s
            raise _Enough


def _synchronised_s() -> float:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def rate(module: ModuleType, work: Callable[[], object], *, scale: Scale, warm_up: int, images: int) -> float:
    """Images per second of `work`, which shows a progress bar of `module`; an update is worth `images`."""
    watch = Stopwatch(scale, warm_up)
    with mock.patch.object(module, "progress", watch), contextlib.suppress(_Enough):
        work()
    found = images * watch.counted / watch.elapsed_s
    _free()
    return found


def _free() -> None:
    import torch
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(True)  # its precision is one for the whole process
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextlib.contextmanager
def precision(module: ModuleType, bf16: bool) -> Iterator[None]:
    """The mixed precision of a module's functions that have no setting for it."""
    if bf16:
        yield
        return
    with mock.patch.object(module, "mixed_precision", lambda *_: contextlib.nullcontext()):
        yield


Setting = tuple[str, bool, bool]  # name, bf16, compile
FP32: Setting = ("fp32", False, False)
BF16: Setting = ("bf16", True, False)


def add_rate(table: Table, scale: Scale, task: str, setting: str, *arguments, **options) -> float:
    """Rows with the `rate` of the other arguments, which is returned, and with the most memory in use."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    images_per_s = rate(*arguments, scale=scale, **options)
    table.add(task, setting, images_per_s, "images/s")
    if torch.cuda.is_available():
        table.add(f"{task}: memory", setting, torch.cuda.max_memory_allocated() / 1e9, "GB")
    return images_per_s


def module_of(name: str):
    """A module of the package; `covary.vae` and others give functions the names of their modules."""
    return importlib.import_module(f"covary.{name}")


@part(20)
def machine(table: Table, scale: Scale, work: Path) -> None:
    """The card and the versions."""
    import jax
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    table.add("GPU", "", name)
    for module in (torch, jax):
        table.add(module.__name__, "", module.__version__)
    table.add("JAX computes on", "", jax.devices()[0].device_kind)


# The NLME engine.


def population(n: int):
    """The paper's model, its parameters, random effects and design of n subjects."""
    from covary import nlme

    nlme.configure()
    model = nlme.load_model("saturable_elimination")
    design = nlme.Design.regular(np.arange(21) * 0.5, n_subjects=n, dose=1.0)
    return model, model.default_parameters(), draw_z(n, 3), design


def simulated_records(n: int):
    """The paper's model, its parameters and simulated records of n subjects."""
    from covary import nlme

    model, parameters, eta, design = population(n)
    simulation = nlme.simulate(model, parameters, eta, design, SEED)
    return model, parameters, nlme.Records.of(design, simulation.observation)


def estimate_modes(model, parameters, records):
    """Empirical Bayes estimates of all subjects."""
    from covary import nlme

    return nlme.empirical_bayes(model, parameters, records)


def estimate_all(n: int) -> dict[str, np.ndarray]:
    """Predictions, modes, curvatures there and how searches ended."""
    from covary import nlme

    model, parameters, eta, design = population(n)
    modes = estimate_modes(*simulated_records(n))
    return {
        "predictions": nlme.predictions(model, parameters, eta, design),
        "modes": modes.eta,
        "Φ at the modes": modes.objective,
        "status": modes.status,
    }


def measure_engine(table: Table, scale: Scale, sizes: list[int]) -> None:
    """Rows for the rates of simulation and of empirical Bayes estimates."""
    import jax

    from covary import nlme

    platform = jax.default_backend()
    for n in sizes:
        model, parameters, eta, design = population(n)
        simulate = functools.partial(nlme.predictions, model, parameters, eta, design)
        simulate_s = timed(simulate)
        *_, records = simulated_records(n)
        estimate = functools.partial(nlme.empirical_bayes, model, parameters, records)
        for task, work, seconds in (
            ("simulate", simulate, simulate_s),
            ("empirical Bayes", estimate, timed(estimate)),
        ):
            if n == sizes[0]:
                table.add(f"{task}: first call, with compilation", platform, seconds, "s")
                seconds = timed(work)
            table.add(f"{task}, {n:,} subjects", platform, n / seconds, "subjects/s")
            minutes = 5 * PAPER_IMAGES * seconds / n / 60
            table.add(f"{task}, {n:,} subjects: five levels of 1.1 million", platform, minutes, "min")


def timed(work: Callable[[], object]) -> float:
    """Seconds; the engine returns NumPy arrays, so nothing is pending afterwards."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@part(45, **CPU_ONLY)
def engine_on_cpu(table: Table, scale: Scale, work: Path) -> None:
    """Rates of the NLME engine on all cores of the machine."""
    table.add("cores", "cpu", str(os.cpu_count()))
    measure_engine(table, scale, [scale.subjects])


@part(100)
def engine(table: Table, scale: Scale, work: Path) -> None:
    """Rates of the NLME engine on the GPU."""
    measure_engine(table, scale, [scale.subjects, scale.many_subjects])


# Agreement with the CPU.


@part(60, **CPU_ONLY)
def reference(table: Table, scale: Scale, work: Path) -> None:
    """Train small networks on the CPU and keep them with what they give; the same for the engine."""
    losses, networks = train_all(scale, bf16=False)
    for name, network in networks.items():
        network.save(work / name)
    engine = {f"engine/{name}": value for name, value in estimate_all(scale.compared_subjects).items()}
    np.savez(work / "reference.npz", **losses, **apply_all(networks, scale, bf16=False), **engine)


@part(90)
def agreement(table: Table, scale: Scale, work: Path) -> None:
    """The same on the GPU: differences of outputs with the same weights, and of losses after training."""
    import torch

    from covary.diffusion import ImageGenerator
    from covary.predict import PredictorNetwork
    from covary.vae import VAE

    kinds = {"vae": VAE, "generator": ImageGenerator, "predictor": PredictorNetwork}
    expected = np.load(work / "reference.npz")
    networks = {name: kind.load(work / name) for name, kind in kinds.items()}
    strict = functools.partial(torch.backends.cudnn.flags, enabled=True, allow_tf32=False)
    for setting, numbers, bf16 in (
        ("fp32 without TF32", strict, False),
        ("fp32", contextlib.nullcontext, False),
        ("bf16 where the package uses it", contextlib.nullcontext, True),
    ):
        with numbers():
            for task, found in apply_all(networks, scale, bf16).items():
                if found.dtype == np.uint8:
                    error = np.abs(found.astype(int) - expected[task]).max()
                    table.add(f"{task}: largest difference", setting, error, "grey levels")
                elif not bf16:  # encodings and predictions are never computed in bf16
                    table.add(f"{task}: relative difference", setting, distance(found, expected[task]))
            for task, found in train_all(scale, bf16)[0].items():
                table.add(f"{task}: CPU, GPU", setting, f"{expected[task]:.5f}, {found:.5f}")
    for name, found in estimate_all(scale.compared_subjects).items():
        task, wanted = f"engine, {name}", expected[f"engine/{name}"]
        if found.dtype.kind == "i":
            table.add(f"{task}: subjects that differ", "fp64", np.count_nonzero(found != wanted))
        else:
            table.add(f"{task}: largest difference", "fp64", np.nanmax(np.abs(found - wanted)))
            table.add(f"{task}: NaN, CPU, GPU", "fp64", f"{np.isnan(wanted).sum()}, {np.isnan(found).sum()}")


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    """‖found − expected‖ / ‖expected‖."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def train_all(scale: Scale, bf16: bool) -> tuple[dict[str, float], dict]:
    """Short trainings of small networks: their last losses, and the networks."""
    from covary.config.generator import Generator
    from covary.config.predictors import Predictor
    from covary.config.vae import Vae
    from covary.diffusion import train_generator
    from covary.predict import OBJECTIVES, Examples, MeanSquaredError, train_predictor
    from covary.vae import encode, train_vae

    beta, train, size_px = module_of("vae.train"), module_of("predict.train"), scale.small_px // 2
    n = scale.trained_images
    images = synthetic_images(n, size_px)
    parts, evidence = (slice(0, n // 2), slice(n // 2, n)), records_evidence(n)
    config = Predictor(epochs=1, batch_size=n // 8)
    losses, networks = {}, {}
    with tempfile.TemporaryDirectory() as folder, precision(beta, bf16), precision(train, bf16):
        directory = Path(folder)
        vae, history = train_vae(images, images[:32], Vae(epochs=2), SEED, directory / "vae")
        losses["VAE, loss after 2 epochs"] = history["loss"].iloc[-1]
        settings = Generator(steps=20, mixed_precision="bf16" if bf16 else "no")
        posterior_of_images = encode(vae, images)
        generator, history = train_generator(
            images, *posterior_of_images, vae, size_px, settings, SEED, directory / "generator"
        )
        losses["generator, loss of 20 steps"] = history["loss"].iloc[-1]
        for name, objective in (
            ("squared error", MeanSquaredError()),
            ("likelihood", OBJECTIVES["marginal_likelihood"].loss(np.eye(3), "full")),
        ):
            examples = [Examples(images[some], evidence[name][some]) for some in parts]
            predictor, history = train_predictor(*examples, objective, config, SEED, directory / name)
            losses[f"predictor by {name}, validation loss"] = history["validation_loss"].iloc[-1]
            networks["predictor"] = predictor
    _free()
    return losses, {"vae": vae, "generator": generator, **networks}


def apply_all(networks: dict, scale: Scale, bf16: bool) -> dict[str, np.ndarray]:
    """What networks give for the same input."""
    from covary.config.generator import Sampling
    from covary.diffusion import generate
    from covary.predict import predict
    from covary.vae import decode, encode

    n, vae = 32, networks["vae"]
    images, z = synthetic_images(n, scale.small_px // 2), draw_z(n, vae.latent_dim)
    mean, log_variance = encode(vae, images)
    return {
        "VAE, mean of q(z|x)": mean,
        "VAE, log variance of q(z|x)": log_variance,
        "VAE, decoding": decode(vae, z),
        "generator, images": generate(
            networks["generator"], z, np.arange(n), Sampling(mixed_precision=bf16), SEED
        ),
        "predictor, eta_pred": predict(networks["predictor"], images),
    }


def records_evidence(n: int) -> dict:
    """Evidence about the random effects of n subjects, for each objective."""
    from covary.nlme.likelihood import RecordLikelihood
    from covary.nlme.posterior import posterior_draws
    from covary.predict import Posteriors, Targets

    model, parameters, records = simulated_records(n)
    modes = estimate_modes(model, parameters, records)
    draws = posterior_draws(model, parameters, records, modes, 32, SEED)
    likelihood = RecordLikelihood(model, parameters, records)
    return {
        "squared error": Targets(modes.eta),
        "likelihood": Posteriors.of(draws.eta, draws.log_marginal, likelihood),
    }


# Rates of training and sampling.


def add_vae_training(table: Table, scale: Scale, settings: list[Setting], batch_size: int) -> None:
    """Rows for the VAE in the shape of the paper's, with its perceptual loss."""
    from covary.config.vae import Vae

    beta, n = module_of("vae.train"), scale.steps_per_epoch * batch_size
    images = synthetic_images(n, scale.large_px)
    task = f"train the VAE of Table 3, {scale.large_px} px, batches of {batch_size}"
    for setting, bf16, compiled in settings:
        config = Vae(
            architecture="resnet18", latent_dim=128, base_channels=scale.width, epochs=100, compile=compiled,
            batch_size=batch_size, perceptual="random", sleep_weight=0.0,
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder, precision(beta, bf16):
            work = functools.partial(beta.train_vae, images, images[:8], config, SEED, Path(folder))
            add_rate(table, scale, task, setting, beta, work, warm_up=1, images=n)


def add_predictor_training(table: Table, scale: Scale, settings: list[Setting]) -> None:
    """Rows for a predictor in the shape of the paper's, on empirical Bayes estimates."""
    from covary.config.predictors import Predictor
    from covary.predict import Examples, MeanSquaredError, Targets

    train, epochs = module_of("predict.train"), module_of("predict.epochs")
    n = scale.steps_per_epoch * scale.batch_size
    examples = Examples(synthetic_images(n, scale.large_px), Targets(draw_z(n, 3)))
    few = Examples(examples.inputs[:8], examples.evidence[:8])
    config = Predictor(width=scale.width, batch_size=scale.batch_size, epochs=100, patience_epochs=100)
    task = f"train a predictor, {scale.large_px} px, batches of {scale.batch_size}"
    for setting, bf16, _ in settings:
        with tempfile.TemporaryDirectory() as folder, precision(train, bf16):
            work = functools.partial(
                train.train_predictor, examples, few, MeanSquaredError(), config, SEED, Path(folder)
            )
            add_rate(table, scale, task, setting, epochs, work, warm_up=1, images=n)


def add_generator_training(
    table: Table,
    scale: Scale,
    task: str,
    settings: list[Setting],
    data: np.ndarray,
    vae,
    size_px: int,
    options: dict,
    batch_size: int,
) -> None:
    """Rows for the training of a generator on some data with these options."""
    from covary.config.generator import Generator

    train, many = module_of("diffusion.train"), 1_000_000
    for setting, bf16, compiled in settings:
        config = Generator(
            **options, steps=many, checkpoint_steps=many, batch_size=batch_size, compile=compiled,
            mixed_precision="bf16" if bf16 else "no",
        )  # fmt: skip
        encodings = posterior(len(data), vae.latent_dim)
        with tempfile.TemporaryDirectory() as folder:
            work = functools.partial(
                train.train_generator, data, *encodings, vae, size_px, config, SEED, Path(folder)
            )
            updates, label = scale.updates, f"{task}, batches of {batch_size}"
            add_rate(table, scale, label, setting, train, work, warm_up=updates, images=batch_size)


def add_sampling(
    table: Table, scale: Scale, task: str, settings: list[Setting], drawn, batch_size: int, steps: int
) -> None:
    """Rows for sampling, and for the paper's 1.1 million images at that rate."""
    from covary.config.generator import Sampling

    sample, z = module_of("diffusion.sample"), draw_z(100 * batch_size, drawn.vae.latent_dim)
    for setting, bf16, compiled in settings:
        config = Sampling(
            solver="dpmsolver++", steps=steps, batch_size=batch_size, mixed_precision=bf16, compile=compiled
        )
        work = functools.partial(sample.generate, drawn, z, np.arange(len(z)), config, SEED)
        label = f"{task}, {steps} steps, batches of {batch_size}"
        images_per_s = add_rate(table, scale, label, setting, sample, work, warm_up=1, images=1)
        table.add(f"{label}: 1.1 million images", setting, PAPER_IMAGES / images_per_s / 3600, "h")


def add_small_generator(table: Table, scale: Scale, settings: list[Setting]) -> None:
    """Rows for the generator of config/workstation.yaml."""
    import torch

    from covary.config.generator import Generator
    from covary.diffusion import ImageGenerator
    from covary.training.device import place
    from covary.vae import VAE

    size_px, batch_size = scale.small_px, scale.batch_size
    with torch.random.fork_rng():
        vae = place(VAE(size_px, 32, scale.width // 2, "resnet18"))
        options = {"block_channels": scale.block_channels, "layers_per_block": 2}
        drawn = ImageGenerator.initialise(Generator(**options), vae, size_px)
    images = synthetic_images(8 * batch_size, size_px)
    task = f"train a generator, {size_px} px"
    add_generator_training(table, scale, task, settings, images, vae, size_px, options, batch_size)
    add_sampling(table, scale, f"sample, {size_px} px", settings, drawn, scale.sampled_batch, steps=12)


@contextlib.contextmanager
def random_stable_diffusion(scale: Scale) -> Iterator[dict]:
    """Inside, `pretrained` is Stable Diffusion 1.5 in shape, with random weights; gives options for it."""
    import torch
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel

    from covary.training.device import choose_device

    with torch.random.fork_rng(), choose_device():
        unet = UNet2DConditionModel(
            sample_size=scale.latent_px, cross_attention_dim=768, block_out_channels=scale.unet_channels
        )
        autoencoder = AutoencoderKL(
            block_out_channels=scale.autoencoder_channels, layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4, sample_size=8 * scale.latent_px, scaling_factor=0.18215,
        )  # fmt: skip
    schedule = DDPMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1, clip_sample=False
    )
    # Copies, because a training that is ended early leaves its precision in the network.
    loaded = {
        "load_unet": lambda _: (copy.deepcopy(unet), schedule),
        "load_autoencoder": lambda _: autoencoder,
    }
    with mock.patch.multiple(module_of("diffusion.generator"), **loaded):
        yield {"pretrained": "random", "conditioning": "token", "min_snr_gamma": 5.0, "noise_offset": 0.1}


def add_stable_diffusion_sampling(
    table: Table, scale: Scale, settings: list[Setting], options: dict, vae
) -> None:
    """Rows for sampling with Stable Diffusion, decoding by its autoencoder included."""
    from covary.config.generator import Generator
    from covary.diffusion import ImageGenerator

    size_px = 8 * scale.latent_px
    drawn = ImageGenerator.initialise(Generator(**options), vae, size_px)
    batch_size, task = 2 * scale.stable_diffusion_batches[-1], f"sample with SD 1.5, {size_px} px"
    add_sampling(table, scale, task, settings, drawn, batch_size, scale.sampling_steps)


def add_autoencoder(table: Table, scale: Scale, options: dict, vae) -> None:
    """Rows for encoding images into the space of Stable Diffusion, and for decoding them."""
    import torch

    from covary.config.generator import Generator
    from covary.diffusion import ImageGenerator
    from covary.training.device import device_of

    space = ImageGenerator.initialise(Generator(**options), vae, 8 * scale.latent_px).space
    images = synthetic_images(scale.stable_diffusion_batches[-1], space.size_px)
    device = device_of(space.autoencoder)
    stored = space.encode(images)
    x = space.read(stored, torch.Generator(), device)
    for task, work in (
        ("encode", functools.partial(space.encode, images)),
        ("decode", functools.partial(space.to_images, x)),
    ):
        for setting, bf16 in (("fp32", False), ("bf16", True)):
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                work()
                start_s = _synchronised_s()
                work()
                seconds = _synchronised_s() - start_s
            label = f"{task} with the autoencoder of SD 1.5, {space.size_px} px"
            table.add(label, setting, len(images) / seconds, "images/s")


@part(40)
def predictor(table: Table, scale: Scale, work: Path) -> None:
    """Training of a predictor."""
    add_predictor_training(table, scale, [FP32, BF16])


@part(60)
def image_vae(table: Table, scale: Scale, work: Path) -> None:
    """Training of the VAE, with large batches and with those of the paper."""
    add_vae_training(table, scale, [FP32, BF16], scale.batch_size)
    add_vae_training(table, scale, [BF16], 5)


@part(150)
def stable_diffusion(table: Table, scale: Scale, work: Path) -> None:
    """Training of the UNet and sampling at 512 pixels."""
    from covary.training.device import place
    from covary.vae import VAE

    vae, size_px = place(VAE(32, 128, 4)), 8 * scale.latent_px
    first, *larger = scale.stable_diffusion_batches
    shape = (8 * scale.stable_diffusion_batches[-1], 8, scale.latent_px, scale.latent_px)
    latents = np.random.default_rng(SEED).normal(size=shape).astype(np.float16)
    task = f"train the UNet of SD 1.5, {size_px} px"
    with random_stable_diffusion(scale) as options:
        for batch_size, settings in [(first, [BF16, FP32]), *((size, [BF16]) for size in larger)]:
            add_generator_training(table, scale, task, settings, latents, vae, size_px, options, batch_size)
        add_autoencoder(table, scale, options, vae)
        add_stable_diffusion_sampling(table, scale, [BF16, FP32], options, vae)


@part(60)
def generator(table: Table, scale: Scale, work: Path) -> None:
    """Training of a generator from scratch, and sampling from it."""
    add_small_generator(table, scale, [FP32, BF16])


@part(200)
def compiled(table: Table, scale: Scale, work: Path) -> None:
    """The same with torch.compile."""
    from covary.training.device import place
    from covary.vae import VAE

    settings = [("bf16, compiled", True, True)]
    add_small_generator(table, scale, settings)
    with random_stable_diffusion(scale) as options:
        add_stable_diffusion_sampling(table, scale, settings, options, place(VAE(32, 128, 4)))
    add_vae_training(table, scale, settings, scale.batch_size)


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    main()
