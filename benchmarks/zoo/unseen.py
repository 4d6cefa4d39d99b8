"""Exports networks that corf was not tuned with: image models of timm with random weights.

python benchmarks/zoo/unseen.py --out DIR [--only NAME...] [--force], by the Python of
scripts/setup_torch. PyTorch's exporter writes them as users do.
"""

import argparse
import pathlib
import sys
import time
import warnings

import timm
import torch

NAMES = """
    bat_resnext26ts beit_base_patch16_224 botnet26t_256 caformer_s18 coat_lite_tiny
    coatnet_0_rw_224 convnext_atto convnextv2_atto crossvit_tiny_240 cspresnet50 darknet53
    davit_tiny deit_tiny_distilled_patch16_224 dla34 dpn48b eca_resnet33ts edgenext_xx_small
    efficientformerv2_s0 efficientnet_lite0 efficientvit_b0 efficientvit_m0 ese_vovnet19b_dw
    eva02_tiny_patch14_224 fasternet_t0 fastvit_t8 focalnet_tiny_srf gcresnet33ts ghostnet_100
    gmixer_12_224 gmlp_s16_224 halonet26t haloregnetz_b hardcorenas_a hgnetv2_b0 hrnet_w18_small
    inception_next_atto inception_v3 lambda_resnet26t lcnet_050 levit_128 levit_128s
    mambaout_femto maxvit_rmlp_pico_rw_256 mixer_s32_224 mixnet_s mobilenetv4_conv_small
    mobileone_s1 mobilevitv2_050 mvitv2_tiny nest_tiny_jx nfnet_f0 pit_ti_224 poolformerv2_s12
    pvt_v2_b0 rdnet_tiny regnetx_004 repghostnet_050 repvgg_a0 repvit_m0_9 res2net50_26w_4s
    resmlp_12_224 resnest14d resnet26t rexnet_100 sebotnet33ts_256 selecsls42 semnasnet_075
    sequencer2d_s shvit_s1 starnet_s1 swiftformer_xs swin_tiny_patch4_window7_224
    tiny_vit_5m_224 tinynet_e tresnet_m twins_svt_small visformer_tiny vit_base_patch32_224
    volo_d1_224 vovnet39a xcit_nano_12_p16_224
""".split()


def export(name, path):
    """Writes the model as timm makes it for pictures of its usual size, one at a time."""
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, exportable=True).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as of a trained one: not all 0 and 1
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    picture = torch.randn(1, *model.default_cfg.get("input_size", (3, 224, 224)))
    unfinished = path.with_suffix(".part")
    torch.onnx.export(model, (picture,), unfinished, dynamo=True, external_data=False,
                      verbose=False)
    unfinished.rename(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=pathlib.Path, metavar="DIR")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME",
                        help="some of: " + ", ".join(NAMES))
    parser.add_argument("--force", action="store_true", help="write files that exist already too")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        path = arguments.out / f"{name}.onnx"
        if path.exists() and not arguments.force:
            print(f"{path}: exists", file=sys.stderr)
            continue
        start = time.monotonic()
        export(name, path)
        print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB in {time.monotonic() - start:.1f} s",
              file=sys.stderr)


if __name__ == "__main__":
    main()
