"""The estimator of a case: small layers, few updates."""

import functools

from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mdm import DependencyEstimator, MDMFusionClassifier, MDMFusionRegressor, ModalityTransformer
from sklearn_mdm.encoders import GRUEncoder, LSTMEncoder, MLPEncoder, TransformerEncoder
from sklearn_mdm.fusion import (
    FUSIONS,
    ConcatFusion,
    EarlyFusionLSTM,
    LateFusion,
    LowRankFusion,
    MAGFusion,
    MemoryFusion,
    MISAFusion,
    MultiAttentionFusion,
    TensorFusion,
)

ENCODERS = {
    "small": MLPEncoder(hidden_dims=(4,), out_dim=4, dropout=0.1),
    "auto": "auto",
    "lstm": LSTMEncoder(hidden_dim=4, out_dim=3),
    "gru": GRUEncoder(hidden_dim=4, out_dim=3),
    "transformer": TransformerEncoder(d_model=4, n_heads=2, out_dim=3),
}
_FOUR = ("memory_dim", "attention_dim", "candidate_dim", "retain_dim", "update_dim", "head_dim")
SYSTEMS = {
    ConcatFusion: ConcatFusion(hidden_dims=(4,)),
    EarlyFusionLSTM: EarlyFusionLSTM(embed_dim=4, hidden_dim=4),
    LateFusion: LateFusion(hidden_dims=(4,)),
    TensorFusion: TensorFusion(hidden_dims=(4,)),
    LowRankFusion: LowRankFusion(rank=2),
    MemoryFusion: MemoryFusion(hidden_dims=4, **dict.fromkeys(_FOUR, 4)),
    MultiAttentionFusion: MultiAttentionFusion(embed_dim=4, hidden_dims=4, reduced_dim=4, cross_dim=4, head_dim=4),
    MISAFusion: MISAFusion(hidden_dim=4, feedforward_dim=8),
    MAGFusion: MAGFusion(),
}
MEASURES_ALONE = {"kl", "f", "nwj", "jsd", "smile", "knife", "infonce", "cpc", "wasserstein", "wpc"}


@functools.cache
def backbone():
    """A transformer of random weights and its tokenizer."""
    from ..fusion import transformer_models as tiny

    return tiny.make_model("bert"), tiny.make_tokenizer("bert")


def model_of(case, modalities):
    if case.estimator == "dependency":
        return DependencyEstimator(
            "kl" if case.measure == "auto" else case.measure,
            hidden_dims=(8, 8),
            n_components=2,
            max_updates=5,
            scaling=case.scaling if case.scaling in ("auto", "standard", "rank") else "auto",
            cv={1: None, 2: 3, 3: "auto"}[case.members],
            decomposition={"concat": None, "late": "line", "tensor": "tree"}.get(case.fusion),
            modalities=modalities,
            random_state=case.seed,
        )
    if case.estimator == "transformer":
        transformer = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler())
        kinds = {"standard": StandardScaler(), "robust": transformer, "rank": SimpleImputer()}
        return ModalityTransformer(kinds.get(case.scaling, "passthrough"), modalities=modalities)
    fusion, encoder = SYSTEMS[FUSIONS[case.fusion]], ENCODERS[case.encoder]
    if case.estimator == "mag":
        model, tokenizer = backbone()
        layer = {"concat": 0, "late": -1}.get(case.fusion, 1)
        frozen = "all" if case.scaling == "robust" else 0
        fusion = MAGFusion(backbone=model, tokenizer=tokenizer, layer=layer, frozen_layers=frozen, dropout=0.0)
        encoder = "auto"
    classify = case.estimator == "classifier"
    return (MDMFusionClassifier if classify else MDMFusionRegressor)(
        fusion=fusion,
        encoder=encoder,
        measure=case.measure,
        lam=case.lam,
        n_estimators=case.members,
        linear_member=case.others,
        kernel_member=case.others,
        scaling=case.scaling,
        missing=case.missing,
        early_stopping=case.stopping,
        max_epochs=case.epochs,
        modality_dropout=0.2 if case.missing == "token" else 0.0,
        critic_hidden_dims=(4,),
        batch_size=16,
        modalities=modalities,
        device="cpu",
        random_state=case.seed,
    )
