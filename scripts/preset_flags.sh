# Sets `flags`, the arguments of scripts/evaluation/inference.py for a preset of the original. Sourced, not run.
# The values are those of the original's scripts; checkpoints are looked for in ${DYNAMICRAFTER_CHECKPOINTS:-checkpoints}.
checkpoints="${DYNAMICRAFTER_CHECKPOINTS:-checkpoints}"
python="python"
if [ -x .venv/bin/python ]; then python=".venv/bin/python"; fi

export GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-2000}" # see scripts/launch.py

# weights FOLDER: the file to load, model.safetensors before model.ckpt, or an error that says where to put it
weights() {
    local name
    for name in model.safetensors model.ckpt; do
        if [ -f "$checkpoints/$1/$name" ]; then echo "$checkpoints/$1/$name"; return; fi
    done
    echo "Error: $checkpoints/$1/model.ckpt is not here; put the released checkpoint there (see checkpoints/README.md)," \
        "or try the embedded model: bash scripts/run.sh tiny" >&2
    return 1
}

# preset NAME "A, B": sets `flags`; NAME must be one of the list
preset() {
    if [ -z "$1" ] || [[ ", $2, " != *", $1, "* ]]; then
        echo "Error: preset '$1' is not known; use one of: $2" >&2
        return 2
    fi
    local checkpoint prompts
    local common=(--n_samples 1 --bs 1 --ddim_eta 1.0 --text_input --video_length 16)
    local trailing=(--timestep_spacing uniform_trailing --guidance_rescale 0.7 --perframe_ae)
    case "$1" in
        tiny)
            checkpoint="$(weights tiny)"
            flags=(--seed 123 --config "$checkpoints/tiny/config.yaml" --prompt_dir prompts/tiny --height 64 --width 64
                --frame_stride 2 --ddim_steps 25 --ddim_eta 0.0 --unconditional_guidance_scale 2.0
                --timestep_spacing uniform_trailing --guidance_rescale 0.7) ;;
        256)
            checkpoint="$(weights dynamicrafter_256_v1)"
            flags=(--seed 123 --config configs/inference_256_v1.0.yaml --prompt_dir prompts/256 --height 256 --width 256
                --frame_stride 3 --ddim_steps 50 --unconditional_guidance_scale 7.5) ;;
        512)
            checkpoint="$(weights dynamicrafter_512_v1)"
            flags=(--seed 123 --config configs/inference_512_v1.0.yaml --prompt_dir prompts/512 --height 320 --width 512
                --frame_stride 24 --ddim_steps 50 --unconditional_guidance_scale 7.5 "${trailing[@]}") ;;
        1024)
            checkpoint="$(weights dynamicrafter_1024_v1)"
            flags=(--seed 123 --config configs/inference_1024_v1.0.yaml --prompt_dir prompts/1024 --height 576 --width 1024
                --frame_stride 10 --ddim_steps 50 --unconditional_guidance_scale 7.5 "${trailing[@]}") ;;
        interp | loop)
            checkpoint="$(weights dynamicrafter_512_interp_v1)"
            flags=(--seed "$([ "$1" = interp ] && echo 12306 || echo 234)" --config configs/inference_512_interp_v1.0.yaml
                --prompt_dir "prompts/512_$1" --height 320 --width 512 "--$1"
                --frame_stride 5 --ddim_steps 50 --unconditional_guidance_scale 7.5 "${trailing[@]}") ;;
    esac
    [ -n "$checkpoint" ] || return 1
    flags=(--ckpt_path "$checkpoint" --savedir "results/dynamicrafter_$1" "${common[@]}" "${flags[@]}")
}
