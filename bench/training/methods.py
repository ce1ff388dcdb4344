"""The methods that train_quality.py compares: of each what it changes in the plain ternary job."""

import dataclasses

FULL, PLAIN = "full_precision", "ternary"
TEACHER = "teacher"


@dataclasses.dataclass
class Method:
    name: str
    group: str
    changes: dict
    traces: str = ""  # the set that half of its rows come from: training/teacher.py
    teachers: tuple = ()  # asked about every row: TEACHER, or FULL of the same seed


def reference_methods():
    decay = {"kind": "adamw", "adamw_lr": 1.5e-3, "weight_decay": 0.1}
    return [
        Method(FULL, "reference", {"quantized": False}),
        Method("full_precision_adamw", "reference", {"quantized": False, "optimizer": decay}),
        Method(PLAIN, "reference", {}),
    ]


def loss_methods():
    def taught(name, traces="corpus", **loss):
        return Method(name, "loss", {"loss": loss}, traces)

    return [
        Method("label_smoothing_0.1", "loss", {"loss": {"label_smoothing": 0.1}}),
        Method("focal_2", "loss", {"loss": {"focal_gamma": 2}}),
        taught("traces_as_text", ce_weight=1, kd_weight=0),
        taught("forward_kl"),
        taught("reverse_kl", divergence="reverse_kl"),
        taught("jsd", divergence="jsd"),
        taught("skew_kl", divergence="skew_kl"),
        taught("skew_reverse_kl", divergence="skew_reverse_kl"),
        taught("tail_ignore", tail="ignore"),
        taught("temperature_1.3", temperature=1.3),
        taught("temperature_2", temperature=2),
        taught("ce_0.7_kd_0.3", ce_weight=0.7, kd_weight=0.3),
        taught("ce_0.3_kd_0.7", ce_weight=0.3, kd_weight=0.7),
        taught("ce_0_kd_1", ce_weight=0, kd_weight=1),
        taught("ce_1_kd_1", ce_weight=1, kd_weight=1),
        taught("format_0.2", format_weight=0.2),
        taught("drawn_as_text", "t1", ce_weight=1, kd_weight=0),
        taught("drawn_tail_other", "t1"),
        taught("drawn_tail_sampled", "t1", tail="sampled"),
        taught("drawn_counts", "counts", tail="counts"),
    ]


def teaching_methods():
    def asked(name, teachers=(TEACHER,), loss=None, **teaching):
        named = [{"model": f"teacher-{i}"} for i in range(len(teachers))]
        return Method(name, "teaching", {"loss": loss or {}, "teaching": teaching | {
            "teachers": named}}, teachers=teachers)

    return [
        asked("dense_kl"),
        asked("dense_reverse_kl", loss={"divergence": "reverse_kl"}),
        asked("attention_relations", relation_weight=1, relation_heads=4),
        asked("on_policy", loss={"divergence": "reverse_kl"}, on_policy_share=0.25),
        asked("twin", (FULL,)),
        asked("two_teachers", (TEACHER, FULL)),
    ]


def optimizer_methods():
    def stepped(name, **optimizer):
        return Method(name, "optimizer", {"optimizer": optimizer})

    adamw = {"kind": "adamw", "adamw_lr": 1.5e-3}
    two_stages = {"schedule": "two_stage", "weight_decay_schedule": "two_stage"}
    return [
        stepped("muon_cosine", schedule="cosine"),
        stepped("muon_two_stage", schedule="two_stage"),
        stepped("muon_decay", weight_decay=0.1),
        stepped("muon_decay_two_stage", weight_decay=0.1, weight_decay_schedule="two_stage"),
        stepped("muon_3_newton_schulz", newton_schulz_steps=3),
        stepped("muon_norm_pinning", norm_pinning=True),
        stepped("muon_polarized", polarize="polarized"),
        stepped("muon_double_well", polarize="double_well", polarize_strength=1e-3),
        stepped("adamw", **adamw),
        stepped("adamw_decay", **adamw, weight_decay=0.1),
        stepped("adamw_two_stages", **adamw, weight_decay=0.1, **two_stages),
        stepped("adamw_norm_pinning", **adamw, norm_pinning=True),
        stepped("adamw_polarized", **adamw, polarize="polarized"),
        stepped("adamw_double_well", **adamw, polarize="double_well", polarize_strength=1e-3),
        stepped("distillix_polarized", kind="adamw", adamw_lr=3e-4, polarize="polarized",
                polarize_absolute=True, polarize_target=0.01, polarize_strength=0.1),
        stepped("spin", kind="spin"),
        stepped("sgld", kind="sgld"),
        stepped("fogzo", fogzo_beta=0.999),
        stepped("fogzo_1e-9", fogzo_beta=1 - 1e-9),  # as distillix says that its paper has it
        stepped("adamw_fogzo", **adamw, fogzo_beta=0.999),
        stepped("distillix_spin", kind="spin", spin_absolute=True, spin_threshold=0.05),
    ]


def quantizer_methods(steps, batch_tokens):
    def quantised(name, **quantization):
        return Method(name, "quantizer", {"quantization": quantization})

    return [
        quantised("a4", activation_bits=4),
        quantised("a4_down_too", activation_bits=4, keep_a8_before_down=False),
        quantised("a4_last_fifth", flip_to_a4_at_tokens=steps * batch_tokens * 4 // 5),
        quantised("lambda_warmup", lambda_warmup_steps=max(1, steps // 5)),
        quantised("twn", weights="twn"),
        quantised("lsq", weights="lsq"),
        quantised("seq", weights="seq"),
        quantised("tequila", weights="tequila"),
    ]


def all_methods(steps, batch_tokens):
    return (reference_methods() + loss_methods() + teaching_methods() + optimizer_methods() +
            quantizer_methods(steps, batch_tokens))


def chosen_methods(names, methods):
    """By name or group, in the order of the list; the two references always."""
    known = {method.name for method in methods} | {method.group for method in methods}
    wrong = [name for name in names if name not in known]
    if wrong:
        raise SystemExit(f"--methods: no method or group {', '.join(wrong)}; known are "
                         f"{', '.join(sorted(known))}")
    always = (FULL, PLAIN)
    return [method for method in methods
            if not names or method.name in (*names, *always) or method.group in names]
