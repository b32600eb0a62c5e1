// SPDX-License-Identifier: Apache-2.0
#ifndef ESCRA_CENTRY_H
#define ESCRA_CENTRY_H

/// The low-level runtimes that are tried, best first; ends with NULL.
const char *const *escra_entry_runtime_list(void);
/// The operator's config: where there is one, it says which runtime is called.
const char *escra_entry_config_path(void);
/// The directories that name supervised containers, and the groups around them; ends with NULL.
const char *const *escra_entry_state_list(void);

#endif
