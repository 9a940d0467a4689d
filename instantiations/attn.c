/* attn.c - the archive: its one list of instances, and the functions of attn.h over that list.
 *
 * <instances.def> and not "instances.def": quotes would look beside this file before the include path, and a trimmed
 * build has its own. */
#include <attn/run.h>

#define ATTN_INSTANCE(name) extern const attn_instance name;
#include <instances.def>

static const attn_instance *const list[] = {
#define ATTN_INSTANCE(name) &name,
#include <instances.def>
};
enum { COUNT = sizeof list / sizeof list[0] };

const attn_instance *const *attn_instances(size_t *n)
{
    if (n)
        *n = COUNT;
    return list;
}

attn_status attn_query(const attn_params *p, attn_info *info)
{
    return attn_list_query(list, COUNT, p, info);
}

attn_status attn_explain(const attn_params *p, char *buf, size_t len)
{
    return attn_list_explain(list, COUNT, p, buf, len);
}

attn_status attn_forward(const attn_params *p, void *workspace, size_t workspace_bytes, void *stream)
{
    return attn_list_forward(list, COUNT, p, workspace, workspace_bytes, stream);
}

attn_status attn_merge(const attn_merge_params *p, void *stream)
{
    return attn_list_merge(list, COUNT, p, stream);
}

attn_status attn_merge_explain(const attn_merge_params *p, char *buf, size_t len)
{
    return attn_list_merge_explain(list, COUNT, p, buf, len);
}

attn_status attn_append_kv(const attn_params *p, const attn_append_params *a, void *stream)
{
    return attn_list_append_kv(list, COUNT, p, a, stream);
}

attn_status attn_append_explain(const attn_params *p, const attn_append_params *a, char *buf, size_t len)
{
    return attn_list_append_explain(list, COUNT, p, a, buf, len);
}

attn_status attn_res_query(int32_t kernel, const attn_res_params *p, attn_info *info)
{
    return attn_list_res_query(list, COUNT, kernel, p, info);
}

attn_status attn_res_explain(int32_t kernel, const attn_res_params *p, char *buf, size_t len)
{
    return attn_list_res_explain(list, COUNT, kernel, p, buf, len);
}

attn_status attn_res_phase1(const attn_res_params *p, void *workspace, size_t workspace_bytes, void *stream)
{
    return attn_list_res(list, COUNT, ATTN_KERNEL_RES1, p, workspace, workspace_bytes, stream);
}

attn_status attn_res_phase2(const attn_res_params *p, void *workspace, size_t workspace_bytes, void *stream)
{
    return attn_list_res(list, COUNT, ATTN_KERNEL_RES2, p, workspace, workspace_bytes, stream);
}

attn_status attn_res_phase1_backward(const attn_res_params *p, void *workspace, size_t workspace_bytes, void *stream)
{
    return attn_list_res(list, COUNT, ATTN_KERNEL_RES1_BACKWARD, p, workspace, workspace_bytes, stream);
}

attn_status attn_res_phase2_backward(const attn_res_params *p, void *workspace, size_t workspace_bytes, void *stream)
{
    return attn_list_res(list, COUNT, ATTN_KERNEL_RES2_BACKWARD, p, workspace, workspace_bytes, stream);
}

attn_status attn_query_device(attn_device *device)
{
    return attn_list_query_device(list, COUNT, device);
}

int32_t attn_recommended_tile(const attn_device *device)
{
    attn_device current;
    if (!device) {
        attn_list_query_device(list, COUNT, &current);
        device = &current;
    }
    return attn_run_recommended_tile(device);
}

attn_status attn_alibi_slopes(float *slopes, int32_t heads, int32_t family)
{
    return attn_run_alibi_slopes(slopes, heads, family);
}

attn_status attn_debug_text(const attn_finding *f, char *buf, size_t len)
{
    return attn_run_debug_text(f, buf, len);
}

const char *attn_status_name(attn_status status)
{
    return attn_run_status_name(status);
}

const char *attn_version(void)
{
    return ATTN_STR(ATTN_VERSION_MAJOR) "." ATTN_STR(ATTN_VERSION_MINOR) "." ATTN_STR(ATTN_VERSION_PATCH);
}
