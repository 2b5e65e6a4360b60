//! Configurations: the released one in full, every variant, and what is refused.

use med2e3_loaders::config::{ConfigFiles, Connector2d, Guide, ModelConfig, Rope, Scored, SliceScoring};
use med2e3_loaders::{Part, TensorSpec, expected_tensors};
use serde_json::{Value, json};

/// `args/config.json` with the released sizes, as the official code dumps it.
fn released() -> Value {
    json!({
        "exp_id": 4,
        "hidden_size": 3072,
        "llm_type": "phi3",
        "llm_max_length": 768,
        "llm_config": {
            "model_type": "phi3", "hidden_act": "silu", "hidden_size": 3072, "intermediate_size": 8192,
            "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32064,
            "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 131072,
            "original_max_position_embeddings": 4096, "sliding_window": 262144, "tie_word_embeddings": false,
            "bos_token_id": 1, "eos_token_id": 32000, "attention_bias": false,
            "rope_scaling": { "type": "longrope", "short_factor": vec![1.1; 48], "long_factor": vec![2; 48] }
        },
        "vision2d_connector_type": "mlp2x_gelu",
        "vision2d_connector_config": { "connector_type": "mlp2x_gelu", "input_dim": 1024, "output_dim": 3072 },
        "vision2d_model_type": "siglip",
        "vision2d_model_select_feature": "cls_patch",
        "vision2d_model_select_layer": -1,
        "vision2d_model_config": {
            "model_type": "siglip_vision_model", "hidden_act": "gelu_pytorch_tanh", "hidden_size": 1024,
            "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 256,
            "patch_size": 16, "num_channels": 3, "layer_norm_eps": 1e-6
        },
        "vision3d_connector_type": "spatial_pooling_score15_mlp2x_gelu",
        "vision3d_connector_config": { "input_dim": 768, "output_dim": 3072 },
        "vision3d_model_type": "m3d",
        "vision3d_model_select_feature": "patch",
        "vision3d_model_select_layer": -1,
        "vision3d_model_config": {
            "model_type": "m3d_clip", "img_size": [32, 256, 256], "patch_size": [4, 16, 16], "in_channels": 1,
            "hidden_size": 768, "mlp_dim": 3072, "num_layers": 12, "num_heads": 12, "pos_embed": "perceptron",
            "spatial_dims": 3, "vocab_size": 30522
        }
    })
}

fn files(args: &Value) -> ConfigFiles {
    ConfigFiles { root: "model".into(), args: args.to_string().into_bytes(), ..ConfigFiles::default() }
}

fn parse(args: &Value) -> Result<ModelConfig, String> {
    ModelConfig::parse(&files(args)).map_err(|error| error.to_string())
}

/// The released configuration with one value replaced; `pointer` as in RFC 6901.
fn with(pointer: &str, value: Value) -> Value {
    let mut args = released();
    match args.pointer_mut(pointer) {
        Some(slot) => *slot = value,
        None => {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            args.pointer_mut(parent).unwrap()[key] = value;
        }
    }
    args
}

#[test]
fn the_released_configuration() {
    let config = parse(&released()).unwrap();
    let want = SliceScoring::Guided { scored: Scored::Both, guide: Guide::BertPooler, temperature: 5.0 };
    assert_eq!(config.scoring, want);
    assert_eq!((config.rows_3d(), config.rows_2d(), config.slices_per_layer()), (256, 256, 8));
    assert_eq!((config.llm.head_dim, config.llm.eos_token_ids.as_slice()), (96, [32000].as_slice()));
    assert_eq!((config.vision_3d.layers_run, config.vision_2d.as_ref().unwrap().layers_run), (12, 24));
    let Rope::Longrope { short_factor, attention_factor, .. } = &config.llm.rope else { panic!("longrope") };
    assert_eq!(short_factor.len(), 48);
    // The factor that transformers computes is 1.1902380714238083.
    assert_eq!(*attention_factor, 1.190_238_1_f32);
}

/// The official tensor lists, made from the official classes, against ours: same names, same shapes.
#[test]
fn expected_tensors_are_the_official_ones() {
    let config = parse(&released()).unwrap();
    let specs = expected_tensors(&config);
    let count = |part: Part| specs.iter().filter(|spec| spec.part == part).count();
    assert_eq!(Part::ALL.map(count), [195, 400, 4, 342, 6]);
    let parameters: usize = specs.iter().map(|spec| spec.shape.iter().product::<usize>()).sum();
    assert_eq!(parameters, 4_361_842_433, "as the official classes have");

    let Some(shared) = shared_data() else { return };
    for (part, file, key) in [
        (Part::Llm, "phi-3-mini.json", None),
        (Part::Vision2d, "siglip-large-patch16-256.json", None),
        (Part::Vision3d, "m3d-clip.json", None),
        (Part::Connector2d, "med-2e3-connectors.json", Some("vision2d mlp2x_gelu")),
        (Part::Connector3d, "med-2e3-connectors.json", Some("vision3d spatial_pooling_score15_mlp2x_gelu")),
    ] {
        let text = std::fs::read(shared.join("configs/tensor_names").join(file)).unwrap();
        let mut official: Value = serde_json::from_slice(&text).unwrap();
        if let Some(key) = key {
            official = official[key].take();
        }
        let official = official.as_object().unwrap();
        let ours: Vec<&TensorSpec> = specs.iter().filter(|spec| spec.part == part).collect();
        for spec in &ours {
            assert_eq!(official.get(&spec.name), Some(&json!(spec.shape)), "{part}/{}", spec.name);
        }
        // SigLIP's file lists its text half too.
        let vision = official.keys().filter(|name| part != Part::Vision2d || name.starts_with("vision_model."));
        assert_eq!(vision.count(), ours.len(), "{part}");
    }
}

fn shared_data() -> Option<std::path::PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data").into();
    let path = std::env::var_os("MED2E3_SHARED_DATA").map_or(beside, std::path::PathBuf::from);
    if !path.is_dir() {
        eprintln!("not run: shared data folder absent (set MED2E3_SHARED_DATA)");
        return None;
    }
    Some(path)
}

#[test]
fn hub_copies_of_the_part_configs_agree_with_the_released_one() {
    let Some(shared) = shared_data() else { return };
    let read = |folder: &str| Some(std::fs::read(shared.join("configs").join(folder).join("config.json")).unwrap());
    let mut args = released();
    for key in ["llm_config", "vision2d_model_config", "vision3d_model_config"] {
        args.as_object_mut().unwrap().remove(key);
    }
    let mut files = files(&args);
    files.llm = read("phi-3-mini-128k-instruct");
    files.vision_2d = read("siglip-large-patch16-256");
    files.vision_3d = read("m3d-clip");
    let config = ModelConfig::parse(&files).unwrap();
    assert_eq!(expected_tensors(&config), expected_tensors(&parse(&released()).unwrap()));

    files.llm = read("phi-3-mini-4k-instruct");
    let config = ModelConfig::parse(&files).unwrap();
    assert_eq!((config.llm.rope, config.llm.sliding_window), (Rope::Plain, Some(2047)));
}

#[test]
fn every_connector_that_we_run() {
    use Guide::{BertPooler, Linear, LlmMean};
    use Scored::{AllThreeDAndSlice, Both, ThreeD, TwoD};
    let rows = [
        (6, Both, LlmMean, 1.0),
        (9, Both, Linear, 1.0),
        (10, ThreeD, BertPooler, 5.0),
        (11, TwoD, BertPooler, 5.0),
        (12, AllThreeDAndSlice, LlmMean, 1.0),
        (13, ThreeD, Linear, 1.0),
        (14, TwoD, Linear, 1.0),
        (15, Both, BertPooler, 5.0),
    ];
    for (number, scored, guide, temperature) in rows {
        let name = format!("spatial_pooling_score{number}_mlp2x_gelu");
        let config = parse(&with("/vision3d_connector_type", json!(name))).unwrap();
        assert_eq!(config.scoring, SliceScoring::Guided { scored, guide, temperature }, "{name}");
        let has = |prefix: &str| expected_tensors(&config).iter().any(|spec| spec.name.starts_with(prefix));
        assert_eq!((has("text_mlp."), has("scoring_module.")), (guide == BertPooler, guide == Linear), "{name}");
        let needs_bert =
            expected_tensors(&config).iter().any(|s| s.required && s.name.starts_with("language_encoder."));
        assert_eq!(needs_bert, guide == BertPooler, "{name}");
    }
    let mut args = with("/vision3d_connector_type", json!("spatial_pooling_mlp2x_gelu"));
    args["exp_id"] = json!(0);
    let config = parse(&args).unwrap();
    assert_eq!((config.scoring, config.rows_2d()), (SliceScoring::None, 0));
    assert!(config.vision_2d.is_none() && config.connector_2d.is_none());

    for (name, connector, rows_2d, tensors) in [
        ("mlp2x_gelu", Connector2d::Mlp2xGelu, 256, 4),
        ("plane_pooling_mlp2x_gelu", Connector2d::PlanePoolingMlp2xGelu, 64, 4),
        ("linear", Connector2d::Linear, 256, 2),
    ] {
        let config = parse(&with("/vision2d_connector_type", json!(name))).unwrap();
        assert_eq!((config.connector_2d, config.rows_2d()), (Some(connector), rows_2d));
        let of_connector = expected_tensors(&config).iter().filter(|spec| spec.part == Part::Connector2d).count();
        assert_eq!(of_connector, tensors, "{name}");
    }
}

#[test]
fn what_we_do_not_run_is_refused_by_name() {
    let cases = [
        ("/exp_id", json!(3), "has exp_id 3, but we run 0 (3D only) and 4"),
        ("/exp_id", json!(0), "with exp_id 0"),
        ("/vision3d_connector_type", json!("spatial_pooling_score7_mlp2x_gelu"), "but we run with exp_id 4: "),
        ("/vision2d_connector_type", json!("identity"), "but we run mlp2x_gelu, plane_pooling_mlp2x_gelu, linear"),
        ("/llm_type", json!("qwen2"), "has llm_type \"qwen2\", but we run phi3"),
        ("/llm_config/model_type", json!("llama"), "has llm_config.model_type \"llama\", but we run phi3"),
        ("/llm_config/hidden_act", json!("gelu"), "but we run silu"),
        ("/llm_config/attention_bias", json!(true), "but we run models without it"),
        ("/llm_config/partial_rotary_factor", json!(0.75), "but we run 1"),
        ("/llm_config/rope_scaling/type", json!("yarn"), "but we run null, or type longrope"),
        ("/llm_config/rope_scaling/short_factor", json!([1.0]), "list of 48 numbers"),
        ("/llm_config/num_key_value_heads", json!(5), "5 key-value heads"),
        ("/llm_config/hidden_size", json!(0), "has llm_config.hidden_size 0, but we run a whole number from 1"),
        ("/llm_config/vocab_size", json!(1e30), "but we run a whole number from 1"),
        ("/llm_config/sliding_window", json!(100), "sliding_window of 100, shorter than llm_max_length 768"),
        ("/llm_config/eos_token_id", json!([32000, 40000]), "token ids below vocab_size 32064"),
        ("/llm_config/rms_norm_eps", json!("small"), "a number above 0"),
        ("/llm_max_length", json!(512), "the image alone takes 512 rows"),
        ("/llm_max_length", json!(1 << 20), "but its language model 131072 positions"),
        ("/hidden_size", json!(1024), "has hidden_size 1024, but its language model 3072"),
        ("/vision2d_model_type", json!("clip"), "but we run siglip"),
        ("/vision2d_model_select_feature", json!("patch"), "but we run cls_patch"),
        ("/vision2d_model_select_layer", json!(-26), "there are 25 layer outputs"),
        ("/vision2d_model_config/patch_size", json!(15), "not a multiple of patch_size 15"),
        ("/vision2d_model_config/image_size", json!(128), "image_size 128 for the 2D encoder"),
        ("/vision2d_connector_config/input_dim", json!(768), "input_dim 768, but the network beside it has 1024"),
        ("/vision3d_model_select_feature", json!("cls_patch"), "but we run patch"),
        ("/vision3d_model_select_layer", json!(12), "there are 12 layer outputs"),
        ("/vision3d_model_config/img_size", json!([20, 256, 256]), "has img_size [20, 256, 256]"),
        ("/vision3d_model_config/img_size", json!([32, 256]), "three whole numbers"),
        ("/vision3d_model_config/pos_embed", json!("conv"), "but we run perceptron"),
        ("/vision3d_model_config/num_heads", json!(7), "not a multiple of num_heads 7"),
    ];
    for (pointer, value, want) in cases {
        let error = parse(&with(pointer, value.clone())).unwrap_err();
        assert!(error.contains(want), "{pointer} = {value}: {error}");
        assert!(error.starts_with("model/args/config.json: ") && error.contains("; "), "{error}");
    }
}

#[test]
fn two_files_that_contradict_are_refused_and_two_that_spell_the_same_are_not() {
    let args = released();
    let mut files = files(&args);
    let mut llm = args["llm_config"].clone();
    llm["rope_theta"] = json!(10000);
    llm["rope_scaling"]["rope_type"] = json!("longrope");
    llm["rope_scaling"]["type"] = json!("su");
    files.llm = Some(llm.to_string().into_bytes());
    assert_eq!(ModelConfig::parse(&files).unwrap(), parse(&args).unwrap());

    llm["vocab_size"] = json!(32011);
    files.llm = Some(llm.to_string().into_bytes());
    let error = ModelConfig::parse(&files).unwrap_err().to_string();
    assert!(error.contains("has llm_config.vocab_size 32064, but model/llm/config.json has 32011"), "{error}");

    llm["vocab_size"] = json!(32064);
    llm["rope_scaling"]["short_factor"][3] = json!(1.2);
    files.llm = Some(llm.to_string().into_bytes());
    let error = ModelConfig::parse(&files).unwrap_err().to_string();
    assert!(error.contains("another config file has different numbers"), "{error}");
}

/// The language model's configuration as transformers 5 writes it.
fn of_transformers_5() -> Value {
    let mut llm = released()["llm_config"].clone();
    let object = llm.as_object_mut().unwrap();
    let mut rope = object.remove("rope_scaling").unwrap();
    rope["rope_type"] = rope.as_object_mut().unwrap().remove("type").unwrap();
    rope["rope_theta"] = object.remove("rope_theta").unwrap();
    rope["partial_rotary_factor"] = json!(1.0);
    rope["original_max_position_embeddings"] = object.remove("original_max_position_embeddings").unwrap();
    object.insert("rope_parameters".into(), rope);
    llm
}

#[test]
fn rope_parameters_of_transformers_5_are_the_same_model() {
    let args = released();
    let wanted = parse(&args).unwrap();
    let newer = with("/llm_config", of_transformers_5());
    assert_eq!(parse(&newer).unwrap(), wanted);

    let mut beside = files(&args);
    beside.llm = Some(of_transformers_5().to_string().into_bytes());
    assert_eq!(ModelConfig::parse(&beside).unwrap(), wanted, "one file of each kind");

    let mut plain = of_transformers_5();
    plain["rope_parameters"] = json!({ "rope_type": "default", "rope_theta": 5000.0 });
    let plain = parse(&with("/llm_config", plain)).unwrap();
    assert_eq!((plain.llm.rope, plain.llm.rope_theta), (Rope::Plain, 5000.0));

    let refused = [
        ("rope_type", json!("yarn"), "but we run null, or type longrope"),
        ("partial_rotary_factor", json!(0.5), "has rope_parameters.partial_rotary_factor 0.5, but we run 1"),
        ("rope_theta", json!("many"), "but we run a number above 0"),
        ("long_factor", json!([1.0]), "long_factor as a list of 48 numbers"),
    ];
    for (key, value, want) in refused {
        let mut llm = of_transformers_5();
        llm["rope_parameters"][key] = value;
        let error = parse(&with("/llm_config", llm)).unwrap_err();
        assert!(error.contains(want), "{key}: {error}");
    }
    let mut twice = of_transformers_5();
    twice["rope_theta"] = json!(20000.0);
    let error = parse(&with("/llm_config", twice)).unwrap_err();
    let want = "has rope_parameters.rope_theta 10000.0, but model/args/config.json has 20000.0; make the two agree";
    assert!(error.contains(want), "{error}");

    let mut other = of_transformers_5();
    let rope = other["rope_parameters"].as_object_mut().unwrap();
    rope.remove("partial_rotary_factor");
    rope.insert("type".into(), json!("su"));
    let mut spelled = files(&newer);
    spelled.llm = Some(other.to_string().into_bytes());
    assert_eq!(ModelConfig::parse(&spelled).unwrap(), wanted, "two files that spell it differently");
    other["rope_theta"] = json!(20000.0);
    spelled.llm = Some(other.to_string().into_bytes());
    let error = ModelConfig::parse(&spelled).unwrap_err().to_string();
    assert!(error.contains("but model/llm/config.json has 20000.0; make the two agree"), "beside two: {error}");
    other.as_object_mut().unwrap().remove("rope_theta");
    other["rope_parameters"]["rope_theta"] = json!(500.0);
    spelled.llm = Some(other.to_string().into_bytes());
    let error = ModelConfig::parse(&spelled).unwrap_err().to_string();
    assert!(error.contains("but model/llm/config.json has 500.0; make the two agree"), "{error}");
}

#[test]
fn ids_that_end_an_answer_are_a_set() {
    let args = with("/llm_config/eos_token_id", json!([32007, 32000]));
    let wanted = parse(&args).unwrap();
    assert_eq!(wanted.llm.eos_token_ids, [32007, 32000]);
    let mut both = files(&args);
    let mut llm = args["llm_config"].clone();
    llm["eos_token_id"] = json!([32000, 32007, 32000]);
    both.llm = Some(llm.to_string().into_bytes());
    assert_eq!(ModelConfig::parse(&both).unwrap(), wanted);
    llm["eos_token_id"] = json!(32000);
    both.llm = Some(llm.to_string().into_bytes());
    let error = ModelConfig::parse(&both).unwrap_err().to_string();
    assert!(error.contains("eos_token_id [32007,32000], but model/llm/config.json has 32000"), "{error}");
}

/// Truncations and bit flips: an error or a configuration, never a panic. The fuzz target continues where this ends.
#[test]
fn damaged_json_never_panics() {
    let whole = released().to_string().into_bytes();
    let parse = |args: Vec<u8>| ModelConfig::parse(&ConfigFiles { args, ..ConfigFiles::default() });
    for len in 0..whole.len() {
        assert!(parse(whole[..len].to_vec()).is_err(), "cut to {len} bytes");
    }
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(config) = parse(bytes) {
            assert!(expected_tensors(&config).len() < 20_000);
        }
    }
}
