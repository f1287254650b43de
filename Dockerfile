# The proof of concept, poc_test_nsr.sh, in a container:
#   docker build -t decomposed-vlm-rl .
#   docker run --gpus all --name poc decomposed-vlm-rl          (without --gpus: the embedded model, on the CPU)
#   docker cp poc:/app/poc_results .
# Any other program: docker run --gpus all --entrypoint python decomposed-vlm-rl main.py --help
FROM python:3.12-slim

# gcc: Triton compiles its launchers on the machine with the GPU
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc g++ libc6-dev \
    && rm -rf /var/lib/apt/lists/*

# environment.sh uses an active environment as it is
ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
RUN python -m venv /opt/venv

WORKDIR /app
COPY requirements.txt ./
RUN pip install --no-cache-dir --requirement requirements.txt
COPY . ./

ENTRYPOINT ["./poc_test_nsr.sh"]
