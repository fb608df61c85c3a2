function o(o){const t=Math.floor(o/1e3),r=o=>String(o).padStart(2,"0"),a=Math.floor(t/3600);return`${a>0?`${a}:`:""}${a>0?r(Math.floor(t/60)%60):Math.floor(t/60)}:${r(t%60)}`}export{o as c};
