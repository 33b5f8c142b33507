"""The history of a training, which may be missing."""

import pandas as pd
from kedro_datasets.pandas import CSVDataset


class History(CSVDataset):
    """``pandas.CSVDataset`` that loads an empty table where there is no file.

    Weights can come without the record of their training, and can be evaluated all the same.
    """

    optional = True

    def load(self) -> pd.DataFrame:
        if not self._exists():
            return pd.DataFrame()
        loaded: pd.DataFrame = super().load()
        return loaded
