// The filters that work on lists: map, select, sort and their like. Only filters.cpp calls them.
#pragma once

#include "server/jinja/filters.h"

namespace tristill::jinja {

Value filter_first(Context& context, const Value& input, const Arguments& arguments);
Value filter_last(Context& context, const Value& input, const Arguments& arguments);
Value filter_list(Context& context, const Value& input, const Arguments& arguments);
Value filter_join(Context& context, const Value& input, const Arguments& arguments);
Value filter_reverse(Context& context, const Value& input, const Arguments& arguments);
Value filter_map(Context& context, const Value& input, const Arguments& arguments);
Value filter_select(Context& context, const Value& input, const Arguments& arguments);
Value filter_reject(Context& context, const Value& input, const Arguments& arguments);
Value filter_selectattr(Context& context, const Value& input, const Arguments& arguments);
Value filter_rejectattr(Context& context, const Value& input, const Arguments& arguments);
Value filter_items(Context& context, const Value& input, const Arguments& arguments);
Value filter_unique(Context& context, const Value& input, const Arguments& arguments);
Value filter_sort(Context& context, const Value& input, const Arguments& arguments);
Value filter_dictsort(Context& context, const Value& input, const Arguments& arguments);
Value filter_min(Context& context, const Value& input, const Arguments& arguments);
Value filter_max(Context& context, const Value& input, const Arguments& arguments);
Value filter_sum(Context& context, const Value& input, const Arguments& arguments);
Value filter_batch(Context& context, const Value& input, const Arguments& arguments);
Value filter_slice(Context& context, const Value& input, const Arguments& arguments);
Value filter_groupby(Context& context, const Value& input, const Arguments& arguments);

}  // namespace tristill::jinja
