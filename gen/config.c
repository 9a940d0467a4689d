/* config.c - prints the attention of a model as lines of models.tsv, from its Hugging Face config.json.
 *
 *   attn-config CONFIG.json
 *
 * gen.sh compiles and runs it for a table that ends in .json, and model.awk makes the table of its lines.  Plain C11,
 * no dependency.  It prints something only if it understands all that the file says about attention; otherwise it
 * names the field, its value and what it could be, and exits with 1.  Memory is freed by leaving. */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *file;

static void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: error: ", file);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

/* ---- JSON, strictly: RFC 8259 ------------------------------------------------------------------ */

enum kind { IS_NULL, IS_FALSE, IS_TRUE, IS_NUMBER, IS_STRING, IS_ARRAY, IS_OBJECT };

struct value {
    enum kind kind;
    const char *text;    /* as the file has it, */
    int length;          /* this many bytes */
    const char *name;    /* of a member of an object, without quotes, escapes as they are */
    int name_length;
    struct value *first; /* of an array's or object's members */
    struct value *next;
};

static const char *start, *at, *end; /* the file; where the reader is */

static void bad_json(const char *expected)
{
    int line = 1, column = 1;
    for (const char *s = start; s < at; s++) {
        column = *s == '\n' ? 1 : column + 1;
        line += *s == '\n';
    }
    fail("not JSON at line %d, column %d: must be %s", line, column, expected);
}

static void skip_space(void)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
}

static int is_digit(void)
{
    return at < end && *at >= '0' && *at <= '9';
}

static void read_digits(void)
{
    if (!is_digit())
        bad_json("a digit");
    while (is_digit())
        at++;
}

static void read_string(void)
{
    if (at == end || *at != '"')
        bad_json("a string");
    for (at++; at < end && *at != '"'; at++) {
        if ((unsigned char)*at < 0x20)
            bad_json("a string without control characters");
        if (*at != '\\')
            continue;
        if (++at == end || !*at || !strchr("\"\\/bfnrtu", *at))
            bad_json("one of \" \\ / b f n r t u after a backslash");
        if (*at != 'u')
            continue;
        for (int i = 0; i < 4; i++)
            if (++at == end || !*at || !strchr("0123456789abcdefABCDEF", *at))
                bad_json("four hexadecimal digits after \\u");
    }
    if (at == end)
        bad_json("the end of a string");
    at++;
}

static int word(const char *s)
{
    size_t n = strlen(s);
    if ((size_t)(end - at) < n || memcmp(at, s, n))
        return 0;
    at += n;
    return 1;
}

static void read_number(void)
{
    if (*at == '-')
        at++;
    if (at < end && *at == '0')
        at++;
    else
        read_digits();
    if (at < end && *at == '.') {
        at++;
        read_digits();
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < end && (*at == '+' || *at == '-'))
            at++;
        read_digits();
    }
}

static struct value *read_value(int depth);

static void read_members(struct value *v, char close, int depth)
{
    struct value **tail = &v->first;
    at++;
    skip_space();
    while (at == end || *at != close) {
        const char *name = NULL;
        int name_length = 0;
        if (v->first) {
            if (at == end || *at != ',')
                bad_json(close == '}' ? "',' or '}'" : "',' or ']'");
            at++;
            skip_space();
        }
        if (close == '}') {
            const char *quote = at;
            read_string();
            name = quote + 1;
            name_length = (int)(at - quote) - 2;
            for (const struct value *m = v->first; m; m = m->next)
                if (m->name_length == name_length && !memcmp(m->name, name, (size_t)name_length))
                    fail("%.*s stands there twice", name_length, name);
            skip_space();
            if (at == end || *at != ':')
                bad_json("':'");
            at++;
        }
        *tail = read_value(depth + 1);
        (*tail)->name = name;
        (*tail)->name_length = name_length;
        tail = &(*tail)->next;
        skip_space();
    }
    at++;
}

static struct value *read_value(int depth)
{
    struct value *v = calloc(1, sizeof *v);
    if (!v)
        fail("out of memory");
    if (depth > 32)
        bad_json("nested at most 32 deep");
    skip_space();
    v->text = at;
    if (at < end && *at == '{') {
        v->kind = IS_OBJECT;
        read_members(v, '}', depth);
    } else if (at < end && *at == '[') {
        v->kind = IS_ARRAY;
        read_members(v, ']', depth);
    } else if (at < end && *at == '"') {
        v->kind = IS_STRING;
        read_string();
    } else if (at < end && (*at == '-' || is_digit())) {
        v->kind = IS_NUMBER;
        read_number();
    } else if (word("true")) {
        v->kind = IS_TRUE;
    } else if (word("false")) {
        v->kind = IS_FALSE;
    } else if (!word("null")) {
        bad_json("a value");
    }
    v->length = (int)(at - v->text);
    return v;
}

static struct value *read_file(const char *path)
{
    static char buffer[1 << 20];
    FILE *f = fopen(path, "rb");
    if (!f)
        fail("cannot be opened");
    size_t n = fread(buffer, 1, sizeof buffer, f);
    if (ferror(f) || !feof(f))
        fail("cannot be read, or is larger than %zu bytes", sizeof buffer - 1);
    fclose(f);
    start = at = buffer;
    end = buffer + n;
    struct value *v = read_value(0);
    skip_space();
    if (at != end)
        bad_json("the end of the file");
    if (v->kind != IS_OBJECT)
        fail("holds no object: must be {\"model_type\": ...}");
    return v;
}

/* ---- fields ------------------------------------------------------------------------------------ */

static const char *within = ""; /* what messages put before a field's name: "text_config." */

#define SHOW(v) ((v)->length < 60 ? (v)->length : 60), (v)->text /* for %.*s */

static int named(const struct value *v, const char *name)
{
    return v->name_length == (int)strlen(name) && !memcmp(v->name, name, (size_t)v->name_length);
}

/* The member of that name, or NULL if it is absent or null. */
static const struct value *get(const struct value *object, const char *name)
{
    for (const struct value *m = object->first; m; m = m->next)
        if (named(m, name))
            return m->kind == IS_NULL ? NULL : m;
    return NULL;
}

static int is_string(const struct value *v, const char *s)
{
    return v->kind == IS_STRING && v->length == (int)strlen(s) + 2 && !memcmp(v->text + 1, s, strlen(s));
}

static int whole(const struct value *v, const char *name, int least, int most)
{
    char *stop;
    long n = strtol(v->text, &stop, 10);
    if (v->kind != IS_NUMBER || stop != v->text + v->length || n < least || n > most)
        fail("%s%s is %.*s: must be a whole number, %d to %d", within, name, SHOW(v), least, most);
    return (int)n;
}

static int number(const struct value *object, const char *name, int most)
{
    const struct value *v = get(object, name);
    if (!v)
        fail("%s%s is missing: must be a whole number, 1 to %d", within, name, most);
    return whole(v, name, 1, most);
}

static int number_or(const struct value *object, const char *name, int most, int otherwise)
{
    return get(object, name) ? number(object, name, most) : otherwise;
}

static int flag_or(const struct value *object, const char *name, int otherwise)
{
    const struct value *v = get(object, name);
    if (v && v->kind != IS_TRUE && v->kind != IS_FALSE)
        fail("%s%s is %.*s: must be true or false", within, name, SHOW(v));
    return v ? v->kind == IS_TRUE : otherwise;
}

/* A number that models call by several names. */
static int number_as(const struct value *object, const char *const *names, int most)
{
    const char *found = NULL;
    for (const char *const *n = names; *n; n++) {
        if (!get(object, *n))
            continue;
        if (found && number(object, *n, most) != number(object, found, most))
            fail("%s%s is %d but %s is %d: must be the same", within, *n, number(object, *n, most), found,
                 number(object, found, most));
        found = *n;
    }
    return number(object, found ? found : names[0], most);
}

/* ---- what is known ----------------------------------------------------------------------------- */

enum layers {
    FULL,      /* no layer has a window */
    LOCAL,     /* all have, if sliding_window is set */
    SWITCHED,  /* use_sliding_window and max_window_layers say which */
    MIXED,     /* some have, others have not; none has if sliding_window_pattern is 1 */
    CHUNKED    /* attention_chunk_size, but not where no_rope_layers has 0 */
};

enum heads {
    PLAIN,   /* num_key_value_heads, absent = num_attention_heads */
    SAME,    /* as many KV heads as query heads */
    FALCON,  /* multi_query, or num_kv_heads with new_decoder_architecture */
    CHATGLM, /* multi_query_attention, multi_query_group_num, kv_channels */
    MPT,     /* attn_config.attn_type, attn_config.kv_n_heads */
    MLA,     /* kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim */
    WHISPER  /* encoder_attention_heads, decoder_attention_heads */
};

static const struct family {
    const char *model_type;
    enum heads heads;
    enum layers layers;
    int causal;
    int sink_logits;
    const char *alibi; /* family of slopes, if the model uses them */
} families[] = {
    {"bloom", SAME, FULL, 1, 0, "press"},
    {"chatglm", CHATGLM, FULL, 1, 0, NULL},
    {"clip_vision_model", SAME, FULL, 0, 0, NULL},
    {"cohere", PLAIN, FULL, 1, 0, NULL},
    {"cohere2", PLAIN, MIXED, 1, 0, NULL},
    {"deepseek_v2", MLA, FULL, 1, 0, NULL},
    {"deepseek_v3", MLA, FULL, 1, 0, NULL},
    {"dinov2", SAME, FULL, 0, 0, NULL},
    {"falcon", FALCON, FULL, 1, 0, "press"},
    {"gemma", PLAIN, FULL, 1, 0, NULL},
    {"gemma2", PLAIN, MIXED, 1, 0, NULL},
    {"gemma3_text", PLAIN, MIXED, 1, 0, NULL},
    {"glm", PLAIN, FULL, 1, 0, NULL},
    {"glm4", PLAIN, FULL, 1, 0, NULL},
    {"glm4_moe", PLAIN, FULL, 1, 0, NULL},
    {"glm4_moe_lite", MLA, FULL, 1, 0, NULL},
    {"gpt_neox", SAME, FULL, 1, 0, NULL},
    {"gpt_oss", PLAIN, MIXED, 1, 1, NULL},
    {"kimi_k2", MLA, FULL, 1, 0, NULL},
    {"llama", PLAIN, FULL, 1, 0, NULL},
    {"llama4_text", PLAIN, CHUNKED, 1, 0, NULL},
    {"minimax_m2", PLAIN, FULL, 1, 0, NULL},
    {"ministral3", PLAIN, LOCAL, 1, 0, NULL},
    {"mistral", PLAIN, LOCAL, 1, 0, NULL},
    {"mixtral", PLAIN, LOCAL, 1, 0, NULL},
    {"mpt", MPT, FULL, 1, 0, "mpt"},
    {"olmo2", PLAIN, FULL, 1, 0, NULL},
    {"phi", PLAIN, FULL, 1, 0, NULL},
    {"phi3", PLAIN, LOCAL, 1, 0, NULL},
    {"qwen2", PLAIN, SWITCHED, 1, 0, NULL},
    {"qwen2_moe", PLAIN, SWITCHED, 1, 0, NULL},
    {"qwen3", PLAIN, SWITCHED, 1, 0, NULL},
    {"qwen3_moe", PLAIN, SWITCHED, 1, 0, NULL},
    {"qwen3_next", PLAIN, FULL, 1, 0, NULL},
    {"siglip_vision_model", SAME, FULL, 0, 0, NULL},
    {"stablelm", PLAIN, FULL, 1, 0, NULL},
    {"starcoder2", PLAIN, LOCAL, 1, 0, NULL},
    {"vit", SAME, FULL, 0, 0, NULL},
    {"whisper", WHISPER, FULL, 0, 0, NULL},
};

/* A field whose name has one of these words speaks of attention, so that it must be known: read below, or listed
 * in `harmless`.  Null and false switch nothing on and pass. */
static const char *const words[] = {"attn",   "attention", "rope",  "rotary", "head",   "window", "kv",     "alibi",
                                    "sink",   "softcap",   "chunk", "sparse", "causal", "mask",   "bidirec", "qk",
                                    "local_", "global_",   "index_", "position", "layer_types", NULL};

/* Those that change neither which keys are seen nor the shape: sizes of other parts, dropout, norms and projections
 * before the scores, the scale, which is a run-time parameter, and positions.  A "*" ends a prefix. */
static const char *const harmless[] = {
    "_attn_implementation*", "add_qkv_bias", "attention_bias", "attention_dropout", "attention_k_eq_v",
    "attention_multiplier", "attention_out_bias", "attention_probs_dropout_prob", "attention_softmax_in_fp32",
    "attn_implementation", "attn_output_gate", "attn_pdrop", "attn_scale", "attn_temperature_tuning",
    "decoder_sparse_step", "final_logit_softcapping", "full_attention_interval", "linear_*", "lm_head*",
    "mask_feature_*", "mask_time_*", "masked_softmax_fusion", "max_position_embeddings", "max_source_positions",
    "max_target_positions", "n_positions", "no_rope_layer_interval", "num_ln_in_parallel_attn", "num_local_experts",
    "offset_alibi", "original_max_position_embeddings", "original_rope", "parallel_attn", "partial_rotary_factor",
    "qk_head_dim", "qk_layernorm", "qk_norm*", "qkv_bias", "query_pre_attn_scalar", "rope_interleave",
    "rope_local_base_freq", "rope_ratio", "rope_theta", "rotary_dim", "rotary_emb_base", "rotary_pct",
    "sliding_window_size", "use_attention_bias", "use_attn_bias", "use_mask_token", "use_qk_norm", "use_qkv_bias",
    "vision_use_head", NULL};


/* Those that are read below. */
static const char *const known[] = {
    "alibi", "attention_chunk_size", "attn_config", "attn_logit_softcapping", "attn_type_list",
    "decoder_attention_heads", "encoder_attention_heads", "head_dim", "is_causal", "kv_channels", "kv_lora_rank",
    "layer_types", "max_window_layers", "multi_query_attention", "n_head", "n_heads", "no_rope_layers",
    "num_attention_heads", "num_key_value_heads", "num_kv_heads", "position_embedding_type", "qk_nope_head_dim",
    "qk_rope_head_dim", "rope_parameters", "rope_scaling", "sliding_window", "sliding_window_pattern",
    "use_sliding_window", "v_head_dim", NULL};

/* Those of MPT's attn_config. */
static const char *const known_attn_config[] = {
    "alibi", "alibi_bias_max", "attn_impl", "attn_pdrop", "attn_type", "clip_qkv", "fused_qkv", "kv_n_heads",
    "model_type", "qk_gn", "qk_ln", "rope", "rope_*", "softmax_scale", NULL};

static const char *const rope_types[] = {
    "default", "linear", "dynamic", "yarn", "longrope", "su", "llama3", "mrope", NULL};

static const char *const position_types[] = {"absolute", "alibi", "rope", "rope_gptj", "rotary", NULL};

static int listed(const struct value *v, const char *const *list)
{
    for (; *list; list++) {
        size_t n = strlen(*list);
        if ((*list)[n - 1] == '*' ? v->name_length >= (int)n - 1 && !memcmp(v->name, *list, n - 1) : named(v, *list))
            return 1;
    }
    return 0;
}

static int speaks_of_attention(const struct value *v)
{
    for (const char *const *w = words; *w; w++)
        for (int i = 0; i + (int)strlen(*w) <= v->name_length; i++)
            if (!memcmp(v->name + i, *w, strlen(*w)))
                return 1;
    return 0;
}

/* Refuses a string that is not in the list, with the list. */
static void one_of(const struct value *v, const char *name, const char *const *list)
{
    char text[512] = "";
    for (const char *const *s = list; *s; s++) {
        if (is_string(v, *s))
            return;
        strcat(strcat(text, s == list ? "" : ", "), *s);
    }
    fail("%s%s is %.*s: must be one of: %s", within, name, SHOW(v), text);
}

/* RoPE is applied before attention, so its kind changes no instance; a kind unheard of might. */
static void check_rope(const struct value *rope, const char *name)
{
    static const char *const types[] = {"rope_type", "type", NULL};
    if (!rope)
        return;
    if (rope->kind != IS_OBJECT)
        fail("%s%s is %.*s: must be an object or null", within, name, SHOW(rope));
    for (const char *const *t = types; *t; t++) {
        char full[64];
        snprintf(full, sizeof full, "%s.%s", name, *t);
        if (get(rope, *t))
            one_of(get(rope, *t), full, rope_types);
    }
    for (const struct value *m = rope->first; m; m = m->next) /* one for each type of layer */
        if (m->kind == IS_OBJECT)
            check_rope(m, name);
}

static void check_quantization(const struct value *config)
{
    static const char *const names[] = {"kv_cache_scheme", "kv_cache_quant_algo", NULL};
    const struct value *q = get(config, "quantization_config");
    for (const char *const *n = names; q && *n; n++)
        if (get(q, *n))
            fail("quantization_config.%s is %.*s: must be null, no instance reads a quantised cache yet", *n,
                 SHOW(get(q, *n)));
}

static void check_fields(const struct value *config, const struct family *family)
{
    for (const struct value *m = config->first; m; m = m->next)
        if (m->kind != IS_NULL && m->kind != IS_FALSE && speaks_of_attention(m) && !listed(m, known) &&
            !listed(m, harmless))
            fail("%s%.*s is %.*s: not known, so that the table might be wrong", within, m->name_length, m->name,
                 SHOW(m));
    if (flag_or(config, "is_causal", family->causal) != family->causal)
        fail("%sis_causal is %s: must be %s for model_type %s", within, family->causal ? "false" : "true",
             family->causal ? "true" : "false", family->model_type);
    if (get(config, "position_embedding_type"))
        one_of(get(config, "position_embedding_type"), "position_embedding_type", position_types);
    if (get(config, "attn_type_list"))
        for (const struct value *m = get(config, "attn_type_list")->first; m; m = m->next)
            whole(m, "attn_type_list", 1, 1);
    check_rope(get(config, "rope_scaling"), "rope_scaling");
    check_rope(get(config, "rope_parameters"), "rope_parameters");
    check_quantization(config);
}

/* ---- from fields to shapes --------------------------------------------------------------------- */

struct attention {
    int heads_q, heads_k, head_dim, head_dim_v;
    int causal;
    int window, chunk;         /* of the local layers; 0 = none */
    int local, global;         /* has the model such layers? */
    char softcap[32];
    int sink_logits;
    const char *alibi, *dtype; /* as in models.tsv */
};

static void print(const struct attention *a, const char *suffix, int local, const char *model)
{
    char window[16] = "-", chunk[16] = "-";
    if (local && a->window)
        snprintf(window, sizeof window, "%d", a->window - 1);
    if (local && a->chunk)
        snprintf(chunk, sizeof chunk, "%d", a->chunk);
    if (a->heads_q % a->heads_k || a->heads_q / a->heads_k > 1024)
        fail("num_attention_heads is %d: must be a multiple of the %d KV heads, at most 1024 times", a->heads_q,
             a->heads_k);
    printf("config%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", suffix, a->heads_q, a->heads_k,
           a->head_dim, a->head_dim_v, a->causal, window, chunk, a->softcap, a->sink_logits ? "1" : "-",
           a->alibi ? a->alibi : "-", a->dtype, model, file);
}

static const char *read_dtype(const struct value *config, const struct value *outer)
{
    static const char *const names[] = {"float32", "float16", "bfloat16", NULL};
    static const char *const fields[] = {"dtype", "torch_dtype"};
    for (int i = 0; i < 4; i++) {
        const struct value *v = get(i < 2 ? config : outer, fields[i % 2]);
        if (!v)
            continue;
        one_of(v, fields[i % 2], names);
        return is_string(v, "float32") ? "f32" : is_string(v, "float16") ? "f16" : "bf16";
    }
    fail("torch_dtype is missing: must be one of: float32, float16, bfloat16");
    return NULL;
}

static void read_heads(const struct value *config, const struct family *family, const char *const *names,
                       struct attention *a)
{
    static const char *const hidden[] = {"hidden_size", "d_model", "n_embed", NULL};
    static const char *const attn_types[] = {"multihead_attention", "multiquery_attention", "grouped_query_attention",
                                             NULL};
    const int most = 65536;
    a->heads_q = a->heads_k = number_as(config, names, most);
    switch (family->heads) {
    case PLAIN:
        a->heads_k = number_or(config, "num_key_value_heads", most, a->heads_q);
        break;
    case FALCON:
        if (flag_or(config, "new_decoder_architecture", 0))
            a->heads_k = number_or(config, "num_kv_heads", most, a->heads_q);
        else if (flag_or(config, "multi_query", 1))
            a->heads_k = 1;
        break;
    case CHATGLM:
        if (flag_or(config, "multi_query_attention", 0))
            a->heads_k = number(config, "multi_query_group_num", most);
        break;
    case MPT: {
        const struct value *c = get(config, "attn_config");
        const struct value *type = c ? get(c, "attn_type") : NULL;
        if (type)
            one_of(type, "attn_config.attn_type", attn_types);
        if (type && is_string(type, "multiquery_attention"))
            a->heads_k = 1;
        if (type && is_string(type, "grouped_query_attention"))
            a->heads_k = number(c, "kv_n_heads", most);
        break;
    }
    case SAME:
    case MLA:
    case WHISPER:
        break;
    }
    if (family->heads == MLA)
        return; /* its head_dims are sums */
    if (family->heads == CHATGLM) {
        a->head_dim = number(config, "kv_channels", 1024);
    } else if (get(config, "head_dim")) {
        a->head_dim = number(config, "head_dim", 1024);
    } else {
        int size = number_as(config, hidden, INT_MAX);
        a->head_dim = size / a->heads_q;
        if (size % a->heads_q || a->head_dim < 1 || a->head_dim > 1024)
            fail("%shead_dim is missing: must be 1 to 1024, or hidden_size %d a multiple of %d heads", within, size,
                 a->heads_q);
    }
    a->head_dim_v = a->head_dim;
}

static void read_alibi(const struct value *config, const struct family *family, struct attention *a)
{
    const struct value *position = get(config, "position_embedding_type");
    const struct value *c = get(config, "attn_config");
    int on = position && is_string(position, "alibi");
    if (family->heads == MPT) {
        if (c && c->kind != IS_OBJECT)
            fail("%sattn_config is %.*s: must be an object", within, SHOW(c));
        for (const struct value *m = c ? c->first : NULL; m; m = m->next)
            if (m->kind != IS_NULL && m->kind != IS_FALSE && !listed(m, known_attn_config))
                fail("%sattn_config.%.*s is %.*s: not known, so that the table might be wrong", within, m->name_length,
                     m->name, SHOW(m));
        on |= c && flag_or(c, "alibi", 0);
    } else if (c) {
        fail("%sattn_config is %.*s: not known for model_type %s", within, SHOW(c), family->model_type);
    }
    on |= flag_or(config, "alibi", 0) || !strcmp(family->model_type, "bloom");
    if (on && !family->alibi)
        fail("%s%s asks for ALiBi, which model_type %s is not known to have", within,
             get(config, "alibi") ? "alibi" : "position_embedding_type", family->model_type);
    a->alibi = on ? family->alibi : NULL;
}

/* Which kinds of layers there are, as the list of them or else the family says. */
static void read_layers(const struct value *config, const struct family *family, struct attention *a)
{
    static const char *const types[] = {"full_attention", "sliding_attention", "chunked_attention", "linear_attention",
                                        NULL};
    const struct value *list = get(config, "layer_types");
    const struct value *window = get(config, "sliding_window");
    const struct value *nope = get(config, "no_rope_layers");
    int chunked = 0;
    if (!flag_or(config, "use_sliding_window", family->layers != SWITCHED || list))
        window = NULL;
    if (list) {
        if (list->kind != IS_ARRAY || !list->first)
            fail("%slayer_types is %.*s: must be a list of names", within, SHOW(list));
        for (const struct value *m = list->first; m; m = m->next) {
            one_of(m, "layer_types", types);
            a->global |= is_string(m, "full_attention");
            a->local |= is_string(m, "sliding_attention") || is_string(m, "chunked_attention");
            chunked |= is_string(m, "chunked_attention");
        }
        if (chunked && family->layers != CHUNKED)
            fail("%slayer_types has chunked_attention, which model_type %s is not known to have", within,
                 family->model_type);
        if (!a->local && !a->global)
            fail("%slayer_types is %.*s: must have a layer of softmax attention", within, SHOW(list));
    } else {
        switch (family->layers) {
        case FULL:
            if (window)
                fail("%ssliding_window is %.*s: must be null for model_type %s", within, SHOW(window),
                     family->model_type);
            break;
        case LOCAL:
            a->local = 1;
            break;
        case SWITCHED:
            a->local = a->global = 1;
            if (window) {
                int first = number_or(config, "max_window_layers", INT_MAX, 0);
                a->local = first < number(config, "num_hidden_layers", INT_MAX);
                a->global = first > 0;
            }
            break;
        case MIXED:
            a->local = number_or(config, "sliding_window_pattern", INT_MAX, 2) > 1;
            a->global = 1;
            break;
        case CHUNKED:
            a->local = a->global = 1;
            if (nope && nope->first) {
                a->local = a->global = 0;
                for (const struct value *m = nope->first; m; m = m->next)
                    *(whole(m, "no_rope_layers", 0, 1) ? &a->local : &a->global) = 1;
            }
            break;
        }
    }
    if (family->layers == CHUNKED) {
        a->chunk = number_or(config, "attention_chunk_size", INT_MAX, 0);
    } else if (get(config, "attention_chunk_size")) {
        fail("%sattention_chunk_size is %.*s: must be null for model_type %s", within,
             SHOW(get(config, "attention_chunk_size")), family->model_type);
    } else if (window && a->local) {
        a->window = number(config, "sliding_window", INT_MAX);
        /* One as long as the context hides nothing. */
        if (a->window >= number_or(config, "max_position_embeddings", INT_MAX, INT_MAX))
            a->window = 0;
    } else if (a->local && (list || family->layers == MIXED) && flag_or(config, "use_sliding_window", 1)) {
        number(config, "sliding_window", INT_MAX); /* is missing */
    }
    if (!a->window && !a->chunk) {
        a->local = 0;
        a->global = 1;
    }
}

static void print_attention(const struct value *config, const struct family *family, struct attention *a)
{
    static const char *const heads[] = {"num_attention_heads", "n_head", "n_heads", NULL};
    static const char *const encoder_heads[] = {"encoder_attention_heads", NULL};
    static const char *const decoder_heads[] = {"decoder_attention_heads", NULL};
    const struct value *cap = get(config, "attn_logit_softcapping");
    const char *model = family->model_type;
    read_heads(config, family, family->heads == WHISPER ? encoder_heads : heads, a);
    read_alibi(config, family, a);
    read_layers(config, family, a);
    a->causal = family->causal;
    a->sink_logits = family->sink_logits;
    strcpy(a->softcap, "-");
    if (cap) {
        if (cap->kind != IS_NUMBER || cap->length >= (int)sizeof a->softcap || !(strtod(cap->text, NULL) > 0))
            fail("%sattn_logit_softcapping is %.*s: must be a number above 0, or null", within, SHOW(cap));
        snprintf(a->softcap, sizeof a->softcap, "%.*s", cap->length, cap->text);
    }
    if (get(config, "kv_lora_rank") && family->heads != MLA)
        fail("%skv_lora_rank is %.*s: must be null for model_type %s", within, SHOW(get(config, "kv_lora_rank")),
             model);
    if (family->heads == MLA) {
        int rope = number(config, "qk_rope_head_dim", 1024);
        int latent = number(config, "kv_lora_rank", 1024 - rope);
        a->heads_k = a->heads_q;
        a->head_dim = number(config, "qk_nope_head_dim", 1024 - rope) + rope;
        a->head_dim_v = number(config, "v_head_dim", 1024);
        print(a, "_pre", 0, model);
        a->heads_k = 1;
        a->head_dim = latent + rope;
        a->head_dim_v = latent;
        print(a, "_dec", 0, model);
    } else if (family->heads == WHISPER) {
        print(a, "_enc", 0, model);
        read_heads(config, family, decoder_heads, a);
        a->causal = 1;
        print(a, "_dec", 0, model);
    } else {
        if (a->local)
            print(a, a->global ? "_l" : "", 1, model);
        if (a->global)
            print(a, a->local ? "_g" : "", 0, model);
    }
}

int main(int argc, char **argv)
{
    struct attention a = {0};
    file = argc == 2 ? argv[1] : "attn-config";
    if (argc != 2)
        fail("usage: attn-config CONFIG.json");
    const struct value *outer = read_file(file);
    const struct value *config = get(outer, "text_config");
    check_quantization(outer);
    if (config) {
        if (config->kind != IS_OBJECT)
            fail("text_config is %.*s: must be an object", SHOW(config));
        within = "text_config.";
    } else {
        config = outer;
    }
    const struct value *type = get(config, "model_type");
    if (!type)
        fail("%smodel_type is missing: must be a name such as \"llama\"", within);
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        if (!is_string(type, families[i].model_type))
            continue;
        a.dtype = read_dtype(config, outer);
        check_fields(config, &families[i]);
        print_attention(config, &families[i], &a);
        return 0;
    }
    fprintf(stderr, "%s: error: %smodel_type is %.*s: must be one of:", file, within, SHOW(type));
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        fprintf(stderr, " %s", families[i].model_type);
    fputc('\n', stderr);
    return 1;
}
