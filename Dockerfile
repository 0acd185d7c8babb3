# The server of docs/serving.md and the page of docs/app.md, on the CPU. For an NVIDIA GPU: `docker run --gpus all`.
FROM python:3.11-slim

WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY lvdm lvdm
COPY configs configs
COPY checkpoints/tiny checkpoints/tiny
COPY checkpoints/tiny-structure checkpoints/tiny-structure
COPY prompts/tiny prompts/tiny
RUN pip install --no-cache-dir -c constraints.txt ".[app,serve]" \
    && useradd --create-home --uid 10001 dynamicrafter \
    && install -d -o dynamicrafter /jobs

USER 10001
WORKDIR /jobs
VOLUME /jobs
EXPOSE 8000
# without DYNAMICRAFTER_API_KEY it does not start: it would answer whoever reaches the port
CMD ["dynamicrafter", "serve", "--host", "0.0.0.0", "--jobs", "/jobs"]
