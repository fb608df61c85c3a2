import type { ComponentChildren } from 'preact';
import { useId, useRef } from 'preact/hooks';

export interface Tab {
  key: string;
  label: string;
  body: () => ComponentChildren;
}

/** Tabs that follow the focus: arrows move, Home and End jump. */
export function Tabs(props: { label: string; tabs: Tab[]; active: string; onChange: (key: string) => void }) {
  const id = useId();
  const list = useRef<HTMLDivElement>(null);
  const at = Math.max(0, props.tabs.findIndex((t) => t.key === props.active));
  const go = (index: number) => {
    const tab = props.tabs[(index + props.tabs.length) % props.tabs.length];
    if (!tab) return;
    props.onChange(tab.key);
    list.current?.querySelector<HTMLElement>(`[data-key="${CSS.escape(tab.key)}"]`)?.focus();
  };
  const onKeyDown = (e: KeyboardEvent) => {
    const forward = document.dir === 'rtl' ? 'ArrowLeft' : 'ArrowRight';
    const back = document.dir === 'rtl' ? 'ArrowRight' : 'ArrowLeft';
    if (e.key === forward) go(at + 1);
    else if (e.key === back) go(at - 1);
    else if (e.key === 'Home') go(0);
    else if (e.key === 'End') go(props.tabs.length - 1);
    else return;
    e.preventDefault();
  };
  return (
    <>
      <div class="tabs" role="tablist" aria-label={props.label} ref={list} onKeyDown={onKeyDown}>
        {props.tabs.map((tab, i) => (
          <button
            key={tab.key}
            type="button"
            role="tab"
            class="tab"
            id={`${id}-tab-${tab.key}`}
            data-key={tab.key}
            aria-selected={i === at}
            aria-controls={i === at ? `${id}-panel` : undefined}
            tabIndex={i === at ? 0 : -1}
            onClick={() => props.onChange(tab.key)}
          >
            {tab.label}
          </button>
        ))}
      </div>
      <div class="panel" role="tabpanel" id={`${id}-panel`} aria-labelledby={`${id}-tab-${props.tabs[at]?.key ?? ''}`} tabIndex={0}>
        {props.tabs[at]?.body()}
      </div>
    </>
  );
}
