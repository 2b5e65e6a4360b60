//! The two image encoders: SigLIP over slices, M3D-CLIP's ViT over the volume.

use crate::error::Result;

use super::POOLING;
use super::keys::{HEADS_MAX, INNER_MAX, Keys, LAYERS_MAX, WIDTH_MAX};

/// Largest side of an image or volume, and most slices.
const SIDE_MAX: usize = 1 << 12;
/// Most tokens of one image or volume.
const TOKENS_MAX: usize = 1 << 20;

/// SigLIP's vision tower: pre-norm transformer with biases everywhere and GELU in its tanh form, no class token.
/// Every token of the tapped layer is used.
#[derive(Debug, Clone, PartialEq)]
pub struct SiglipConfig {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Layers in the checkpoint.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Rows and columns of a slice.
    pub image_size: usize,
    /// Rows and columns of a patch; divides `image_size`.
    pub patch_size: usize,
    /// Input channels, all equal to the slice.
    pub num_channels: usize,
    /// Of every layer norm.
    pub layer_norm_eps: f32,
    /// Layers to run: the output of the last of these, before `post_layernorm`, is the feature (0: the embeddings).
    pub layers_run: usize,
}

impl SiglipConfig {
    /// Patches along one side.
    pub fn side(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Tokens per slice.
    pub fn tokens(&self) -> usize {
        self.side().pow(2)
    }
}

/// M3D-CLIP's ViT as MONAI builds it: pre-norm transformer, erf GELU, no bias on qkv, learned positions, a class token
/// in front that takes part in attention and is then dropped.
#[derive(Debug, Clone, PartialEq)]
pub struct VitConfig {
    /// Slices, rows, columns of the volume.
    pub img_size: [usize; 3],
    /// The same of a patch; divides `img_size`, and the quotients are even.
    pub patch_size: [usize; 3],
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the MLP.
    pub mlp_dim: usize,
    /// Layers in the checkpoint.
    pub num_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_heads: usize,
    /// Of every layer norm: PyTorch's default.
    pub layer_norm_eps: f32,
    /// Layers to run: the output of the last of these, before the final norm, is the feature.
    pub layers_run: usize,
}

impl VitConfig {
    /// Patches along each axis.
    pub fn grid(&self) -> [usize; 3] {
        std::array::from_fn(|axis| self.img_size[axis] / self.patch_size[axis])
    }

    /// Patches, that is tokens without the class token.
    pub fn tokens(&self) -> usize {
        self.grid().iter().product()
    }

    /// Voxels of a patch.
    pub fn patch_voxels(&self) -> usize {
        self.patch_size.iter().product()
    }
}

pub(super) fn parse_2d<'a>(args: &Keys<'a>, keys: &Keys<'a>) -> Result<SiglipConfig> {
    // A hub copy of the whole SigLIP keeps the tower's keys one object further in.
    let keys = keys.descend("vision_config", "vision_config.");
    keys.one_of("model_type", &["siglip_vision_model"], Some("siglip_vision_model"))?;
    keys.one_of("hidden_act", &["gelu_pytorch_tanh"], Some("gelu_pytorch_tanh"))?;
    // Where a key is absent, transformers' SiglipVisionConfig default holds.
    let hidden_size = keys.size("hidden_size", Some(768), 1..=WIDTH_MAX)?;
    let num_hidden_layers = keys.size("num_hidden_layers", Some(12), 1..=LAYERS_MAX)?;
    let num_attention_heads = keys.size("num_attention_heads", Some(12), 1..=HEADS_MAX)?;
    let image_size = keys.size("image_size", Some(224), 1..=SIDE_MAX)?;
    let patch_size = keys.size("patch_size", Some(16), 1..=SIDE_MAX)?;
    divides(&keys, "num_attention_heads", num_attention_heads, "hidden_size", hidden_size)?;
    divides(&keys, "patch_size", patch_size, "image_size", image_size)?;
    // There is no class token to drop: "patch" would cut the first patch of every slice.
    args.one_of("vision2d_model_select_feature", &["cls_patch"], Some("cls_patch"))?;
    let select = args.index("vision2d_model_select_layer", -1)?;
    let layers_run = selected(args, "vision2d_model_select_layer", select, num_hidden_layers + 1)?;
    let config = SiglipConfig {
        hidden_size,
        intermediate_size: keys.size("intermediate_size", Some(3072), 1..=INNER_MAX)?,
        num_hidden_layers,
        num_attention_heads,
        image_size,
        patch_size,
        num_channels: keys.size("num_channels", Some(3), 1..=64)?,
        layer_norm_eps: keys.number("layer_norm_eps", Some(1e-6), 1.0)?,
        layers_run,
    };
    bounded_tokens(&keys, config.tokens())?;
    Ok(config)
}

pub(super) fn parse_3d<'a>(args: &Keys<'a>, keys: &Keys<'a>) -> Result<VitConfig> {
    keys.one_of("model_type", &["m3d_clip"], Some("m3d_clip"))?;
    keys.one_of("pos_embed", &["perceptron"], Some("perceptron"))?;
    keys.exactly("in_channels", 1.0)?;
    keys.exactly("spatial_dims", 3.0)?;
    // Where a key is absent, M3D-CLIP's own default holds.
    let img_size = keys.sizes3("img_size", [32, 256, 256], 1..=SIDE_MAX)?;
    let patch_size = keys.sizes3("patch_size", [4, 16, 16], 1..=SIDE_MAX)?;
    if (0..3).any(|axis| img_size[axis] % (patch_size[axis] * POOLING) != 0) {
        let finding = format!("has img_size {img_size:?} and patch_size {patch_size:?}");
        return Err(keys.bad(finding, "use sides that are multiples of two patches, for tokens are pooled 2 x 2 x 2"));
    }
    let hidden_size = keys.size("hidden_size", Some(768), 1..=WIDTH_MAX)?;
    let num_layers = keys.size("num_layers", Some(12), 1..=LAYERS_MAX)?;
    let num_heads = keys.size("num_heads", Some(12), 1..=HEADS_MAX)?;
    divides(keys, "num_heads", num_heads, "hidden_size", hidden_size)?;
    // With the class token kept, tokens would not form the grid that is pooled.
    args.one_of("vision3d_model_select_feature", &["patch"], Some("patch"))?;
    let select = args.index("vision3d_model_select_layer", -1)?;
    // The official list of layer outputs begins with the first block's: its index 0 is one block run.
    let layers_run = selected(args, "vision3d_model_select_layer", select, num_layers)? + 1;
    let mlp_dim = keys.size("mlp_dim", Some(3072), 1..=INNER_MAX)?;
    let config = VitConfig {
        img_size,
        patch_size,
        hidden_size,
        mlp_dim,
        num_layers,
        num_heads,
        layer_norm_eps: 1e-5,
        layers_run,
    };
    bounded_tokens(keys, config.tokens())?;
    Ok(config)
}

/// A Python index into a list of `len`, from the front.
fn selected(args: &Keys, key: &str, index: i64, len: usize) -> Result<usize> {
    let signed = i64::try_from(len).unwrap_or(i64::MAX);
    let from_front = if index < 0 { index.checked_add(signed) } else { Some(index) };
    from_front.filter(|front| (0..signed).contains(front)).map(|front| front as usize).ok_or_else(|| {
        args.bad(format!("has {key} {index}, but there are {len} layer outputs"), "use -1, the last layer")
    })
}

fn divides(keys: &Keys, part_key: &str, part: usize, whole_key: &str, whole: usize) -> Result<()> {
    if whole.is_multiple_of(part) {
        return Ok(());
    }
    let finding = format!("has {whole_key} {whole}, which is not a multiple of {part_key} {part}");
    Err(keys.bad(finding, "correct one of the two"))
}

fn bounded_tokens(keys: &Keys, tokens: usize) -> Result<()> {
    if tokens <= TOKENS_MAX {
        return Ok(());
    }
    Err(keys.bad(format!("asks for {tokens} patches, but at most {TOKENS_MAX} are run"), "use larger patches"))
}
