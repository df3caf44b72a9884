// Dumps the peer's logits for a given token sequence, teacher-forced in one
// context: what model/testdata/smollm2.py compares with the reference.
//
//   holdfast-peer-logits MODEL TOKENS OUT BATCH FLASH KV [THREADS]
//
// TOKENS holds int32 token IDs and OUT receives float32 logits [tokens][vocab],
// both little-endian. BATCH tokens are evaluated at a time (1: as in decoding).
// FLASH is 0, 1 or -1 (the library's choice); KV is f16 (the default of the
// peer's tools), f32, or q8_0, which wants FLASH.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "llama.h"

static int fail(const char * what) {
    std::fprintf(stderr, "logits: %s\n", what);
    return 1;
}

int main(int argc, char ** argv) {
    if (argc < 7) {
        return fail("usage: MODEL TOKENS OUT BATCH FLASH KV [THREADS]");
    }
    std::vector<llama_token> tokens;
    if (FILE * f = std::fopen(argv[2], "rb")) {
        llama_token id;
        while (std::fread(&id, sizeof id, 1, f) == 1) {
            tokens.push_back(id);
        }
        std::fclose(f);
    }
    if (tokens.empty()) {
        return fail("no tokens");
    }
    const int batch_size = std::atoi(argv[4]);
    const int threads    = argc > 7 ? std::atoi(argv[7]) : 2;
    if (batch_size < 1 || threads < 1) {
        return fail("BATCH and THREADS must be positive");
    }

    llama_log_set([](enum ggml_log_level level, const char * text, void *) {
        if (level == GGML_LOG_LEVEL_WARN || level == GGML_LOG_LEVEL_ERROR) {
            std::fputs(text, stderr);
        }
    }, nullptr);
    llama_backend_init();
    llama_model * model = llama_model_load_from_file(argv[1], llama_model_default_params());
    if (!model) {
        return fail("cannot load the model");
    }
    llama_context_params params = llama_context_default_params();
    params.n_ctx           = (tokens.size() + 255) / 256 * 256;
    params.n_batch         = batch_size;
    params.n_ubatch        = batch_size;
    params.n_threads       = threads;
    params.n_threads_batch = threads;
    params.flash_attn_type = static_cast<llama_flash_attn_type>(std::atoi(argv[5]));
    params.type_k = params.type_v = std::strcmp(argv[6], "f32") == 0 ? GGML_TYPE_F32
        : std::strcmp(argv[6], "q8_0") == 0 ? GGML_TYPE_Q8_0 : GGML_TYPE_F16;
    llama_context * ctx = llama_init_from_model(model, params);
    if (!ctx) {
        return fail("cannot make a context");
    }

    const int vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
    FILE * out = std::fopen(argv[3], "wb");
    if (!out) {
        return fail("cannot write OUT");
    }
    llama_batch batch = llama_batch_init(batch_size, 0, 1);
    for (size_t start = 0; start < tokens.size(); start += batch_size) {
        batch.n_tokens = 0;
        for (size_t i = start; i < tokens.size() && batch.n_tokens < batch_size; i++) {
            const int n = batch.n_tokens++;
            batch.token[n]     = tokens[i];
            batch.pos[n]       = static_cast<llama_pos>(i);
            batch.n_seq_id[n]  = 1;
            batch.seq_id[n][0] = 0;
            batch.logits[n]    = true;
        }
        if (llama_decode(ctx, batch) != 0) {
            return fail("decoding failed");
        }
        for (int n = 0; n < batch.n_tokens; n++) {
            if (std::fwrite(llama_get_logits_ith(ctx, n), sizeof(float), vocab, out) != size_t(vocab)) {
                return fail("cannot write OUT");
            }
        }
    }
    if (std::fclose(out) != 0) {
        return fail("cannot write OUT");
    }
    llama_batch_free(batch);
    llama_free(ctx);
    llama_model_free(model);
    llama_backend_free();
    return 0;
}
