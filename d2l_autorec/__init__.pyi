"""The names of the package and their homes, for type checkers, editors and `__init__.py`."""

from typing import Any

from .chapter import AutoRec as AutoRec
from .chapter import evaluator as evaluator
from .chapter import get_dataloader_workers as get_dataloader_workers
from .chapter import load_data_ml100k as load_data_ml100k
from .chapter import read_data_ml100k as read_data_ml100k
from .chapter import split_and_load_ml100k as split_and_load_ml100k
from .chapter import split_data_ml100k as split_data_ml100k
from .chapter import train_recsys_rating as train_recsys_rating
from .chapter import try_all_gpus as try_all_gpus
from .data.clicks import Clicks as Clicks
from .data.clicks import prepare_clicks as prepare_clicks
from .data.ratings import Ratings as Ratings
from .data.sources import load_ratings as load_ratings
from .data.sources import read_ratings as read_ratings
from .data.splits import k_folds as k_folds
from .data.splits import leave_last_out as leave_last_out
from .data.splits import random_split as random_split
from .data.splits import seq_aware_split as seq_aware_split
from .data.splits import time_split as time_split
from .models.catalog.autorec import AutoRecConfig as AutoRecConfig
from .models.catalog.ease import EASEConfig as EASEConfig
from .models.catalog.ials import IALSConfig as IALSConfig
from .models.catalog.item_knn import ItemKNNConfig as ItemKNNConfig
from .models.catalog.means import BiasConfig as BiasConfig
from .models.catalog.means import MeanConfig as MeanConfig
from .models.catalog.mf import MFConfig as MFConfig
from .models.catalog.mult_vae import MultDAEConfig as MultDAEConfig
from .models.catalog.mult_vae import MultVAEConfig as MultVAEConfig
from .models.catalog.popularity import PopularityConfig as PopularityConfig
from .models.catalog.recvae import RecVAEConfig as RecVAEConfig
from .models.mf import MF as MF
from .models.mult_vae import MultDAE as MultDAE
from .models.mult_vae import MultVAE as MultVAE
from .models.recvae import RecVAE as RecVAE
from .models.registry import make_config as make_config
from .runs.tuning import Tuned as Tuned
from .runs.tuning import tune as tune
from .serving.predictor import Scored as Scored
from .support.errors import ConfigError as ConfigError
from .support.errors import DataError as DataError
from .support.errors import DataWarning as DataWarning
from .support.errors import Interrupted as Interrupted
from .support.errors import NumericalError as NumericalError
from .support.errors import UserError as UserError
from .support.style import use_style as use_style
from .trained_model import TrainedModel as TrainedModel
from .trained_model import load_run as load_run
from .trained_model import train_model as train_model
from .training.history import anneal_schedule as anneal_schedule
from .training.loop import Callback as Callback

__version__: str

def __getattr__(name: str) -> Any: ...  # of the book
