"""A penalty of one's own: Fishr (Rame et al. 2022), which compares the variance of gradients between environments.

    irm-study run quickstart --plugin examples/fishr_plugin.py --set run.penalty=my_fishr --set name=my-fishr

The file is named again by every command that reads the study, as `irm-study report reports/my-fishr --plugin …`.
"""

import torch

from irm_study import plugin


@plugin.penalty("my_fishr", needs="features")
def my_fishr(logits, labels, features):
    """Squared distance of each environment's gradient variance from their mean, averaged over environments.

    logits, labels: (runs, environments, examples). features: (runs, environments, examples, hidden). Returns (runs,).
    The gradients are of each example's loss with respect to the last layer: (sigmoid(z) - y) times (features, 1).
    """
    ones = torch.ones_like(features[..., :1])
    gradients = (torch.sigmoid(logits) - labels).unsqueeze(-1) * torch.cat([features, ones], dim=-1)
    variances = gradients.var(dim=2, correction=0)
    return (variances - variances.mean(dim=1, keepdim=True)).square().sum(-1).mean(1)
