"""Registration of the stock plugins' parts."""

from forehand import Registry, hookimpl


@hookimpl
def forehand_register(registry: Registry) -> None:
    """Register this package's parts."""
    registry.add(
        "policy",
        "composed",
        "forehand.compose.policy:ComposedPolicy",
        "encoders, a backbone, a world model and an action head, connected by a table of which tokens read which",
    )
    registry.add(
        "policy",
        "cross_embodiment",
        "forehand.compose.embodiments:CrossEmbodimentPolicy",
        "a composed policy for robots with different states and actions, made where the dataset is a mapping",
    )
    registry.add(
        "policy",
        "coupled",
        "forehand.compose.coupled:CoupledPolicy",
        "a forward model that forecasts, and a model of inverse dynamics that acts on the forecast",
    )
    registry.add(
        "encoder",
        "ngram_text",
        "forehand_plugins.encoders.ngram_text:NgramText",
        "one text token from words learned from scratch",
        aliases=["words"],
    )
    registry.add(
        "encoder",
        "sentence_transformer",
        "forehand_plugins.encoders.transformer_text:SentenceTransformer",
        "one text token from a pre-trained sentence embedding, such as MiniLM's",
    )
    registry.add(
        "encoder",
        "t5",
        "forehand_plugins.encoders.transformer_text:T5Text",
        "text tokens from T5's encoder",
    )
    registry.add(
        "encoder",
        "clip_text",
        "forehand_plugins.encoders.transformer_text:CLIPTextTokens",
        "text tokens from CLIP's text tower, of any size",
    )
    registry.add(
        "encoder",
        "keypoints",
        "forehand_plugins.encoders.keypoints:Keypoints",
        "camera tokens from learned keypoints, trained from scratch",
    )
    registry.add(
        "encoder",
        "language_keypoints",
        "forehand_plugins.encoders.keypoints:LanguageKeypoints",
        "camera tokens from keypoints, some of them selected by the instruction, trained from scratch",
        aliases=["asked_keypoints"],
    )
    registry.add(
        "encoder",
        "state_mlp",
        "forehand_plugins.encoders.state_mlp:StateMLP",
        "one token from the robot's state, by an MLP",
    )
    registry.add(
        "encoder",
        "vision",
        "forehand_plugins.encoders.vision:Vision",
        "camera tokens from a vision tower: pooled, grid, spatial softmax or attention pooling, with FiLM",
    )
    registry.add(
        "vision_tower",
        "timm",
        "forehand_plugins.vision_towers.timm_tower:TimmTower",
        "any model of timm, frozen or trained: DINOv2, DINOv3, SigLIP, CLIP, ResNet, EfficientNet, …",
    )
    registry.add(
        "vision_tower",
        "pixel_patches",
        "forehand_plugins.vision_towers.pixel_patches:PixelPatches",
        "the pixels of each patch, without weights",
    )
    registry.add(
        "encoder",
        "depth_cnn",
        "forehand_plugins.encoders.depth_cnn:DepthCNN",
        "depth images in metres as keypoints, by a convolutional network trained from scratch",
    )
    registry.add(
        "encoder",
        "pointnet",
        "forehand_plugins.encoders.pointnet:PointNet",
        "point clouds by PointNet, whatever the order and number of their points",
    )
    registry.add(
        "encoder",
        "vector_mlp",
        "forehand_plugins.encoders.vector_mlp:VectorMLP",
        "one token from a vector sensor, such as forces, by an MLP",
    )
    registry.add(
        "backbone",
        "transformer",
        "forehand_plugins.backbones.transformer:Transformer",
        "a pre-norm transformer with learned timestep embeddings",
    )
    registry.add(
        "backbone",
        "causal_transformer",
        "forehand_plugins.backbones.causal_transformer:CausalTransformer",
        "a transformer as in Llama: RMSNorm, SwiGLU, rotary embedding of the timestep, grouped-query attention",
    )
    registry.add(
        "backbone",
        "encoder_decoder",
        "forehand_plugins.backbones.encoder_decoder:EncoderDecoder",
        "a transformer encoder for observations and a decoder for queries, as in ACT",
    )
    registry.add(
        "backbone",
        "huggingface",
        "forehand_plugins.backbones.huggingface:HuggingFace",
        "a causal language model of the transformers library, trained, frozen or adapted by LoRA",
    )
    registry.add(
        "augmentation",
        "shift",
        "forehand.compose.random_shift:Shift",
        "a random shift by some pixels, the border repeated",
    )
    registry.add(
        "augmentation",
        "crop",
        "forehand_plugins.augmentations.crop:Crop",
        "a random or central crop, resized back",
    )
    registry.add(
        "augmentation",
        "color_jitter",
        "forehand_plugins.augmentations.color_jitter:ColorJitter",
        "random brightness, contrast, saturation and hue",
    )
    registry.add(
        "augmentation",
        "gaussian_blur",
        "forehand_plugins.augmentations.gaussian_blur:GaussianBlur",
        "a Gaussian blur of random width",
    )
    registry.add(
        "augmentation",
        "cutout",
        "forehand_plugins.augmentations.cutout:Cutout",
        "random rectangles that are hidden",
    )
    registry.add(
        "action_head",
        "chunk_regression",
        "forehand_plugins.action_heads.chunk_regression:ChunkRegression",
        "a chunk of actions by L1 or squared-error regression",
    )
    registry.add(
        "action_head",
        "flow_matching",
        "forehand_plugins.action_heads.flow_matching:FlowMatching",
        "a chunk of actions from noise, by a learned velocity field (rectified flow)",
    )
    registry.add(
        "action_head",
        "flow_matching_expert",
        "forehand_plugins.action_heads.flow_matching_expert:FlowMatchingExpert",
        "flow matching whose noisy actions are tokens of the backbone in every step, as in π0",
    )
    registry.add(
        "action_head",
        "diffusion",
        "forehand_plugins.action_heads.diffusion:Diffusion",
        "a chunk of actions from noise, by denoising diffusion, as in Diffusion Policy",
    )
    registry.add(
        "action_head",
        "gaussian_mixture",
        "forehand_plugins.action_heads.gaussian_mixture:GaussianMixture",
        "a mixture of Gaussians for each action or chunk, as in BC-RNN-GMM",
    )
    registry.add(
        "action_head",
        "discrete_bins",
        "forehand_plugins.action_heads.discrete_bins:DiscreteBins",
        "a class for each element of each action, as in RT-1 and OpenVLA",
    )
    registry.add(
        "action_head",
        "cvae",
        "forehand_plugins.action_heads.cvae:CVAE",
        "a chunk of actions given a latent style, as in ACT",
    )
    registry.add(
        "world_model",
        "appearance_flow",
        "forehand_plugins.world_models.appearance_flow:AppearanceFlow",
        "the cameras' images some steps ahead, as the present ones moved: learned in minutes",
    )
    registry.add(
        "world_model",
        "latent",
        "forehand_plugins.world_models.latent:Latent",
        "features of a shared vision tower some steps ahead, at one or several horizons",
    )
    registry.add(
        "world_model",
        "latent_actions",
        "forehand_plugins.world_models.latent_actions:LatentActions",
        "latent actions between two frames, learned without recorded ones, and the one that comes next",
    )
    registry.add(
        "world_model",
        "state",
        "forehand_plugins.world_models.state:State",
        "the robot's state, or a vector sensor such as poses of objects, some steps ahead",
    )
    registry.add(
        "world_model",
        "pixels",
        "forehand_plugins.world_models.pixels:Pixels",
        "the cameras' images some steps ahead, by transposed convolutions",
    )
    registry.add(
        "world_model",
        "discrete_tokens",
        "forehand_plugins.world_models.discrete_tokens:DiscreteTokens",
        "the cameras' images some steps ahead, as discrete codes of their patches (finite scalar quantization)",
    )
    registry.add(
        "policy",
        "lerobot",
        "forehand_plugins.lerobot.factory:make_policy",
        "a policy of LeRobot (ACT, diffusion policy, SmolVLA, …), or of one of its plugins",
    )
    registry.add(
        "dataset",
        "lerobot",
        "forehand.data.lerobot.source:LeRobotSource",
        "a LeRobotDataset, by folder or hub repository id; what a plain path means",
    )
    registry.add(
        "logger",
        "tensorboard",
        "forehand_plugins.loggers.tensorboard:TensorBoardLogger",
        "event files of TensorBoard, in the run's folder",
    )
    registry.add(
        "logger",
        "wandb",
        "forehand_plugins.loggers.hosted:WandbLogger",
        "Weights & Biases, on line or off line",
    )
    registry.add(
        "logger",
        "trackio",
        "forehand_plugins.loggers.hosted:TrackioLogger",
        "trackio, on this computer",
    )
    registry.add(
        "checkpoint_reader",
        "lerobot",
        "forehand_plugins.lerobot.pretrained:LeRobotReader",
        "LeRobot's pretrained_model folders",
    )
    registry.add(
        "policy",
        "zero_action",
        "forehand_plugins.reference:ZeroActionPolicy",
        "zero actions: a baseline, and a safe first command",
        aliases=["still"],
    )
    registry.add(
        "policy",
        "random",
        "forehand_plugins.reference:RandomPolicy",
        "uniformly random actions: a baseline",
    )
    registry.add(
        "chunking",
        "receding_horizon",
        "forehand.control.chunking:RecedingHorizon",
        "the first actions of each chunk, then a new prediction",
    )
    registry.add(
        "chunking",
        "temporal_ensemble",
        "forehand.control.chunking:TemporalEnsemble",
        "the weighted mean of all recent chunks' actions for this step",
    )
    registry.add(
        "chunking",
        "asynchronous",
        "forehand.control.chunking:Asynchronous",
        "one chunk while the next is predicted, for policies slower than the robot",
    )
    registry.add(
        "importer",
        "calvin",
        "forehand_plugins.importers.calvin.importer:CalvinImporter",
        "CALVIN's play data, one npz file a frame: annotated segments, or what lies between them",
    )
    registry.add(
        "importer",
        "libero",
        "forehand_plugins.importers.libero:LiberoImporter",
        "LIBERO's HDF5 files, one a task",
    )
    registry.add(
        "importer",
        "robomimic",
        "forehand_plugins.importers.robomimic:RobomimicImporter",
        "robomimic's HDF5 files of robosuite environments",
    )
    registry.add(
        "importer",
        "step_folders",
        "forehand_plugins.importers.step_folders:StepFoldersImporter",
        "folders of single steps, as Seer's preprocessing leaves LIBERO, DROID and recordings of real robots",
    )
    registry.add(
        "importer",
        "rlds",
        "forehand_plugins.importers.rlds.importer:RldsImporter",
        "RLDS datasets in TFRecord or array_record files: DROID, Bridge, Open X-Embodiment",
    )
    registry.add(
        "importer",
        "zarr",
        "forehand_plugins.importers.zarr.importer:ZarrImporter",
        "zarr stores of whole datasets, as Diffusion Policy and UMI keep them",
    )
    registry.add(
        "importer",
        "mcap",
        "forehand_plugins.importers.mcap.importer:McapImporter",
        "MCAP files and ROS bags, resampled to control steps",
    )
    registry.add(
        "importer",
        "video",
        "forehand_plugins.importers.video:VideoImporter",
        "a folder of video files, one an episode, with a text file beside each, and no actions or states",
    )
    registry.add(
        "adapter",
        "openpi",
        "forehand_plugins.adapters.openpi:OpenPiAdapter",
        "openpi's websocket clients",
    )
    registry.add(
        "adapter",
        "vla_eval",
        "forehand_plugins.adapters.vla_eval:VlaEvalAdapter",
        "benchmarks of vla-eval, over its websocket protocol",
    )
    registry.add(
        "adapter",
        "gr00t",
        "forehand_plugins.adapters.gr00t:Gr00tAdapter",
        "GR00T's ZeroMQ clients, of N1.5 and of N1.6 and later",
    )


@hookimpl
def forehand_configuration() -> str:
    """This package's Hydra configuration."""
    return "pkg://forehand_plugins.conf"
